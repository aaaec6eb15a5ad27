"""The one door to a partition: admit, apply, capture, maintain; each safe to call beside the others.

What is captured, found or compared belongs to one state of memory, so all of it happens under one hold of the lock:
between two, a purge may give rows other numbers. A change that fails halfway blows the partition's fuse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import numpy as np

from cdp_store.arrays import I64, U64, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.events.maintaining import is_due, maintain
from cdp_store.events.retained import Summary
from cdp_store.fuse import Fuse
from cdp_store.identity.identity_changes import IdentityChange, Links, TakenElsewhere
from cdp_store.identity.identity_tables import IdentityTables, from_tables, to_tables, without
from cdp_store.identity.origins import OriginsReading
from cdp_store.identity.state import IdentityState
from cdp_store.identity.transfers import TransferReading
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import BUCKET_CHUNKS_MAX, CHUNKS_MERGED_MIN, DELTA_EVENTS_MAX
from cdp_store.log.controls import Retention, Suppression
from cdp_store.memory.memory import MemoryParts, PartitionMemory
from cdp_store.memory.name_limits import Rejection, name_overflow
from cdp_store.memory.nested import Given
from cdp_store.memory.validate import validate
from cdp_store.memory.view import PartitionView
from cdp_store.partition import quarantine, suppressions
from cdp_store.partition.dedupe import BatchIds, IdGeneration, MessageIds, RecordIds, hash_ids, identified, repeated
from cdp_store.partition.operations import has_operations, in_turns, resolved
from cdp_store.partition.purging import purged
from cdp_store.partition.quarantine import Quarantine, QuarantineChange, Quarantined
from cdp_store.partition.readings import PartitionExport, PartitionStatus, Texts, texts_of
from cdp_store.partition.refusals import Admission, elsewhere, suppressed
from cdp_store.partition.suppressions import Suppressions
from cdp_store.records.records import RecordBatch, Strings, join_batches

_LATE_CHANGES_MAX: Final = 16  # that a purge applies while writers wait; before, it catches up beside them


Change = Callable[[PartitionMemory], object]
Result = TypeVar("Result")


class Partition:
    """One partition's memory and the ids it has taken, behind one lock."""

    def __init__(self, partition: PartitionId, key: HashKey, layout: Layout = LAYOUT) -> None:
        self.partition = partition
        self.key = key
        self._memory = PartitionMemory(key, layout)
        self.identity = IdentityState(key)
        self.suppressions = Suppressions(key)
        self.quarantine = Quarantine()
        self._message_ids = MessageIds(key)
        self._batch_ids = BatchIds()
        self._received_ms = 0
        self._lineage = 0  # raised when rows, codes or strings get other numbers
        self._lock, self._fuse = threading.Lock(), Fuse()
        self._layout = layout
        self._meanwhile: list[Change] | None = None  # what is applied while a purge runs, for its result

    @property
    def sequence(self) -> SequenceNumber:
        """Sequence number of the last applied batch."""
        return self._memory.sequence

    @property
    def awaits_purge(self) -> bool:
        """True if there is anything that `purge` would remove."""
        with self._held():
            return self._memory.is_worth_purging(0)

    def known_batch(self, batch: RecordBatch) -> SequenceNumber | None:
        """Position at which the batch was logged before, if it was."""
        return self._batch_ids.get(batch)

    def pending_ids(self) -> MessageIds:
        """An empty set for the ids of batches that are admitted but not yet logged."""
        return MessageIds(self.key)

    def admit(self, batch: RecordBatch, pending: MessageIds) -> Admission:
        """Take out repeated message ids and records with names beyond the limits; registers the remaining names."""
        ids = self._message_ids.hash(batch)
        with self._held():
            seen = self._message_ids.known(ids) | pending.known(ids)
            kept = ~seen
            rejections = suppressed(batch, kept, self.suppressions) + elsewhere(batch, kept, self.identity)
            rejections += name_overflow(self._memory.schema, batch, kept)
        kept[[rejection.record for rejection in rejections]] = False
        # Only now: what repeats a rejected record is rejected too, not known.
        seen[kept] = repeated(ids.high[kept], ids.low[kept])
        kept &= ~seen
        pending.add(ids.high[kept], ids.low[kept])
        admitted = batch if kept.all() else batch.take(np.flatnonzero(kept))
        return Admission(admitted, np.flatnonzero(seen), tuple(rejections))

    def refused_again(self, batch: RecordBatch, pending: MessageIds) -> tuple[Rejection, ...]:
        """Of a batch that was taken before, what was left out of it because its values are elsewhere.

        Only message ids tell what was taken: of a record without one nothing is said.
        """
        if not has_operations(batch):
            return ()
        ids = self._message_ids.hash(batch)
        with self._held():
            kept = ids.given & ~self._message_ids.known(ids) & ~pending.known(ids)
            return tuple(elsewhere(batch, kept, self.identity))

    def apply(self, batch: RecordBatch, sequence: SequenceNumber) -> None:
        """Make a logged batch visible and remember its ids."""
        self.apply_all([batch], sequence)

    def take_over(self, batch: RecordBatch) -> None:
        """Take the versions that another partition held, all that follows from them included."""
        with self._changing():
            self._apply_records(batch, SequenceNumber(self.sequence + 1), Given.COMPLETE)

    def apply_all(self, batches: Sequence[RecordBatch], last: SequenceNumber) -> None:
        """The same for batches that were logged one behind the other, up to sequence number `last`, in one go."""
        whole = batches[0] if len(batches) == 1 else join_batches(batches)
        ids = self._message_ids.hash(whole)
        with self._changing():
            for part in in_turns(whole, self._memory.schema.attributes):
                self._apply_records(resolved(part, self._memory), last)
            start = 0
            for sequence, batch in enumerate(batches, last - len(batches) + 1):
                own = slice(start, start := start + len(batch))
                self._message_ids.add(ids.high[own], ids.low[own], batch.received_ms)
                self._batch_ids.add(batch.batch_id, SequenceNumber(sequence))
                self._received_ms = max(self._received_ms, batch.received_ms)

    def _apply_records(self, plain: RecordBatch, sequence: SequenceNumber, given: Given = Given.BY_RECORD) -> None:
        self._do(lambda memory: memory.apply(plain, sequence, given))
        self.identity.take_records(plain)

    def fresh_links(self, links: Links) -> Links:
        """The links that say something new and name no suppressed identifier."""
        return links.take(self.new_links(links))

    def new_links(self, links: Links) -> Bools:
        """Mask of the links that say something new and name no suppressed identifier: bool[n]."""
        suppressed = self.suppressions.among(links.lower) | self.suppressions.among(links.upper)
        return self.identity.claims.news(links) & ~suppressed

    def said_before(self, links: Links, pending: MessageIds) -> Bools:
        """Mask of the links of records that were taken, as far as their message ids are remembered: bool[n]."""
        alone = hash_ids(self.key, links.message_ids)
        ids = RecordIds(*identified(alone, hash_ids(self.key, links.upper)), alone)
        return self._message_ids.known(ids) | pending.known(ids)

    def unknown(self, taken: TakenElsewhere) -> TakenElsewhere:
        """Those of some message ids that are not remembered."""
        return taken.take(~self._message_ids.seen(taken.high, taken.low))

    def change_identity(self, change: IdentityChange, sequence: SequenceNumber) -> None:
        """Do what was logged about identifiers; one caller at a time, and none of `apply` meanwhile."""
        with self._changing():
            if isinstance(change, TakenElsewhere):
                self._message_ids.add(change.high, change.low, change.received_ms)
            # Rows that are found belong to the view only if no purge comes between the two.
            changes = self.identity.apply(change, sequence, self._memory.capture(), self._memory.find)
            # Some change no memory; what a purge makes meanwhile must know their positions all the same.
            for each in (*changes, lambda memory: memory.pass_over(sequence)):
                self._do(each)

    def capture_moving(self) -> tuple[PartitionView, TransferReading]:
        """A stable reading, and how far the transfers of profiles had come then."""
        with self._held():
            return self._memory.capture(), self.identity.transfers.reading(self._memory.in_transit)

    def with_identity(self, read: Callable[[IdentityState, Quarantine], Result]) -> Result:
        """Reads identifiers and quarantine while nothing changes; from any thread."""
        with self._held():
            return read(self.identity, self.quarantine)

    def pass_over(self, sequence: SequenceNumber) -> None:
        """Advance to `sequence`: the log entries before it were lost (salvage)."""
        with self._changing():
            self._do(lambda memory: memory.pass_over(sequence))

    def erase(self, identifiers: Sequence[bytes], sequence: SequenceNumber) -> int:
        """Take profiles out of every answer from now on; returns how many there were. `purge` removes their bytes."""
        with self._changing():
            erased = self._do(lambda memory: memory.erase(list(identifiers), sequence))
            self.quarantine = self.quarantine.without(identifiers)
            kept = without(self.identity, identifiers, self.key)
            if kept is not self.identity:
                kept.find_due(self._memory.find)
                self.identity = kept
            return erased

    def suppress(self, change: Suppression, sequence: SequenceNumber) -> None:
        """Take nothing any more under some identifiers, or again under others."""
        with self._changing():
            self.suppressions = self.suppressions.changed(change)
            self._do(lambda memory: memory.pass_over(sequence))

    def quarantine_records(self, change: QuarantineChange, sequence: SequenceNumber) -> None:
        """Keep records that broke a rule, apart from all others, or let some go."""
        with self._changing():
            self.quarantine = self.quarantine.changed(change, sequence)
            if isinstance(change, Quarantined):
                self._batch_ids.add(change.batch.batch_id, sequence)
            self._do(lambda memory: memory.pass_over(sequence))

    def retain(self, retention: Retention, sequence: SequenceNumber) -> None:
        """Change rules of retention and drop events; views from before keep them."""
        with self._changing():
            self._do(lambda memory: memory.retain(retention, sequence))

    def overdue(self, now_ms: int) -> Mapping[str, int]:
        """By event name, the instant before which events are to be dropped now, where there are any."""
        with self._held():
            return self._memory.overdue(now_ms)

    def retention_days(self) -> Mapping[str, int]:
        """The rules of retention: days by event name, "" for all others."""
        with self._held():
            return dict(self._memory.retention_days)

    def cutoffs(self) -> Mapping[str, int]:
        """By event name, the instant before which events have been dropped."""
        view = self.capture()
        known = view.schema.events.items()
        return {name: view.summaries[number].cutoff_ms for name, number in known if number in view.summaries}

    def purge(self, rows_max: int = 0) -> bool:
        """Remove all that more than `rows_max` erased profiles, or retention, left behind; True if anything was done.

        Runs beside reads and writes; one caller of `maintain` and `purge` at a time.
        """
        with self._held():
            if not self._memory.is_worth_purging(rows_max):
                return False
            view, rules = self._memory.capture(), self._memory.retention_days
            forgotten, settled = self._memory.forgotten_names, self._memory.settled_properties
            self._meanwhile = list[Change]()
        try:
            memory = purged(view, rules, self.key, self._layout, settled)
            unused = view.schema.properties.keys() - set(memory.schema.properties)
            while len(late := self._take_meanwhile()) > _LATE_CHANGES_MAX:
                _apply_all(late, memory)
            with self._held():
                # A name that was admitted and whose records are not applied yet stays reserved.
                memory.schema.include(self._memory.schema, forgotten, unused)
                _apply_all([*late, *(self._meanwhile or ())], memory)
                self._memory, self._lineage = memory, self._lineage + 1
        finally:
            with self._lock:
                self._meanwhile = None
        return True

    def capture(self) -> PartitionView:
        """A stable reading."""
        with self._held():
            return self._memory.capture()

    def export(self) -> PartitionExport:
        """Everything a snapshot keeps, at one position of the log; nothing of erased profiles is in it."""
        with self._held():
            memory, lineage, received_ms = self._memory, self._lineage, self._received_ms
            view, rules, goes = memory.capture(), dict(memory.retention_days), memory.has_leavings
            settled = memory.settled_properties
            ids, batches = self._message_ids.generations(), tuple(self._batch_ids.items())
            identity, suppressed, kept_apart = to_tables(self.identity), self.suppressions, self.quarantine
            if memory.in_transit:
                lineage = -1  # some identifiers are marked; other snapshots must not take them so
        if goes:
            # Rows get other numbers in the copy: nothing of it can be shared with any other snapshot.
            view, lineage = purged(view, rules, self.key, self._layout, settled).capture(), -1
        if len(suppressed):
            identity[suppressions.TABLE] = suppressed.to_table()
        if len(kept_apart):
            identity[quarantine.TABLE] = kept_apart.to_table()
        return PartitionExport(view, lineage, received_ms, rules, suppressed, kept_apart, ids, batches, identity)

    def load(self, parts: MemoryParts, ids: Sequence[IdGeneration], batches: Iterable[tuple[bytes, int]]) -> None:
        """Hold what a snapshot kept; for a partition that is empty."""
        with self._held():
            self._memory.load(parts)
            self._message_ids.remember(ids)
            for batch_id, sequence in batches:
                self._batch_ids.add(batch_id, SequenceNumber(sequence))
            self._received_ms = parts.received_ms

    def note_received(self, received_ms: int) -> None:
        """Count everything up to an instant as received, as the partition did whose contents came here."""
        with self._held():
            self._received_ms = max(self._received_ms, received_ms)

    def load_identity(self, tables: IdentityTables) -> None:
        """Hold what a snapshot kept of identifiers; after `load`."""
        with self._held():
            self.identity = from_tables(tables, self.key)
            self.identity.find_due(self._memory.find)
            if suppressions.TABLE in tables:
                self.suppressions = Suppressions.from_table(self.key, tables[suppressions.TABLE])
            if quarantine.TABLE in tables:
                self.quarantine = Quarantine.from_table(tables[quarantine.TABLE])

    def remember_ids(self, older: Sequence[IdGeneration], found: Iterable[tuple[U64, U64, int]]) -> None:
        """Take ids of others for taken: those alone of older versions, and lots of (high, low, received)."""
        with self._held():
            self._message_ids.remember(older)
            for high, low, received_ms in found:
                self._message_ids.add(high, low, received_ms)

    def rows_of(self, identifiers: Strings) -> I64:
        """The row of each encoded identifier, -1 where there is none."""
        with self._held():
            return self._memory.rows_of(identifiers)

    def add_summary(self, name: str, summary: Summary) -> None:
        """Keep what is left of events of a name that were dropped; for a partition that is made from others."""
        with self._held():
            self._memory.add_summary(name, summary)

    def locate(self, identifiers: Sequence[bytes]) -> tuple[PartitionView, list[int | None]]:
        """A stable reading, and in it the row of each encoded identifier, or None."""
        with self._held():
            return self._memory.capture(), self._memory.find(list(identifiers))

    def texts(self) -> Texts:
        """Everything in memory that is text, as of now."""
        with self._held():
            return texts_of(self._memory.capture(), self.identity, self.quarantine)

    def locate_person(self, identifier: bytes) -> tuple[PartitionView, int | None, OriginsReading | None]:
        """A stable reading, in it the row of an encoded identifier, or None, and which records came under which one."""
        with self._held():
            [row] = self._memory.find([identifier])
            return self._memory.capture(), row, self.identity.origins.reading(identifier)

    def maintain(self, delta_max: int = DELTA_EVENTS_MAX, chunks_max: int = BUCKET_CHUNKS_MAX) -> bool:
        """Seal a delta of more than `delta_max` events and merge runs of at least `chunks_max` chunks.

        Runs beside reads and writes; one caller at a time. True if anything was done. ValueError for less than two
        chunks: one alone has nothing to be merged with.
        """
        if chunks_max < CHUNKS_MERGED_MIN:
            raise ValueError(f"chunks_max is {chunks_max}, but only {CHUNKS_MERGED_MIN} chunks or more can be merged")
        with self._held():
            both = (self._memory.events, self._memory.changes)
            due = [tables for tables in both if is_due(tables, delta_max, chunks_max)]
        worked = [maintain(tables, self._changing, delta_max, chunks_max) for tables in due]
        return any(worked)

    def status(self) -> PartitionStatus:
        """Sizes as of now."""
        with self._held():
            memory, events = self._memory, self._memory.events
            ids = {"message_ids": self._message_ids.nbytes, "batch_ids": self._batch_ids.nbytes}
            own = {"identity": self.identity.nbytes, "quarantine": self.quarantine.nbytes}
            live, unsealed = len(memory) - memory.erased_count, events.delta_count + memory.changes.delta_count
            report = memory.memory_report() | ids | own
            return PartitionStatus(self.partition, memory.sequence, live, events.counts()[0], unsealed, report)

    def validate(self) -> None:
        """Raise StructureBroken unless every rule of the structures holds; reads everything, for tests."""
        with self._held():
            validate(self._memory)
            self.identity.validate(set(self._memory.in_transit))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock, to read or to swap; StoreFailed after a change that failed halfway."""
        with self._lock:
            self._fuse.check()
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock for a change, which is done entirely or blows the fuse."""
        with self._lock, self._fuse.whole(f"a change of partition {self.partition}"):
            yield

    def _do(self, change: Callable[[PartitionMemory], Result]) -> Result:
        """Change the memory, and later also what a purge is making of it."""
        if self._meanwhile is not None:
            self._meanwhile.append(change)
        return change(self._memory)

    def _take_meanwhile(self) -> list[Change]:
        with self._held():
            taken, self._meanwhile = self._meanwhile or [], list[Change]()
        return taken


def _apply_all(changes: Iterable[Change], memory: PartitionMemory) -> None:
    for change in changes:
        change(memory)
