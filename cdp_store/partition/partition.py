"""Entrance to a partition: admit, apply, capture, maintain; each is safe to call alongside the others.

Results of a capture, a search and a comparison must belong to one state of memory, so all of them happen under one hold
of the lock: between two holds, a purge may renumber rows. A change that fails halfway blows the partition's fuse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import numpy as np

from cdp_store.arrays import I64, U64
from cdp_store.columns.arena import HashKey
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.events.maintaining import is_due, maintain
from cdp_store.events.retained import Summary
from cdp_store.fuse import Fuse
from cdp_store.identity.identity_changes import IdentityChange, TakenElsewhere
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
from cdp_store.partition.dedupe import BatchIds, IdGeneration, MessageIds, repeated
from cdp_store.partition.operations import has_operations, in_turns, resolved
from cdp_store.partition.purging import Change, apply_changes, purged
from cdp_store.partition.quarantine import Quarantine, QuarantineChange, Quarantined
from cdp_store.partition.readings import PartitionExport, PartitionStatus, Texts, texts_of
from cdp_store.partition.refusals import Admission, elsewhere, suppressed
from cdp_store.partition.suppressions import Suppressions
from cdp_store.records.records import RecordBatch, Strings, join_batches

_NOTHING_MOVES: Final = TransferReading({}, {})
_LATE_CHANGES_MAX: Final = 16  # applied by a purge while writers wait; all others without the lock

Result = TypeVar("Result")


class Partition:
    """One partition's memory and the ids it has taken, guarded by one lock."""

    def __init__(self, partition: PartitionId, key: HashKey, layout: Layout = LAYOUT) -> None:
        self.partition = partition
        self.key = key
        self._memory = PartitionMemory(key, layout)
        self.identity = IdentityState(key)
        self.suppressions = Suppressions(key)
        self.quarantine = Quarantine()
        self.message_ids = MessageIds(key)
        self.batch_ids = BatchIds()
        self._received_ms = 0
        self._lineage = 0  # increased when rows, codes or strings are renumbered
        self._lock, self._fuse = threading.Lock(), Fuse()
        self._layout = layout
        # Changes since a purge began, which it repeats on its result; None while no purge runs.
        self._meanwhile: list[Change] | None = None

    @property
    def sequence(self) -> SequenceNumber:
        """Sequence number of the last applied batch."""
        return self._memory.sequence

    @property
    def awaits_purge(self) -> bool:
        """True if `purge` would remove anything."""
        with self._held():
            return self._memory.is_worth_purging(0)

    def known_batch(self, batch: RecordBatch) -> SequenceNumber | None:
        """Position at which the batch was logged before; None if it was not."""
        return self.batch_ids.get(batch)

    def pending_ids(self) -> MessageIds:
        """An empty set for the ids of batches that are admitted but not yet logged."""
        return MessageIds(self.key)

    def admit(self, batch: RecordBatch, pending: MessageIds) -> Admission:
        """Takes out repeated message ids and records with names beyond the limits; registers the remaining names."""
        ids = self.message_ids.hash(batch)
        with self._held():
            seen = self.message_ids.known(ids) | pending.known(ids)
            kept = ~seen
            rejections = suppressed(batch, kept, self.suppressions) + elsewhere(batch, kept, self.identity)
            rejections += name_overflow(self._memory.schema, batch, kept)
        kept[[rejection.record for rejection in rejections]] = False
        # Only now: a repeat of a rejected record is rejected too, and does not count as known.
        seen[kept] = repeated(ids.high[kept], ids.low[kept])
        kept &= ~seen
        pending.add(ids.high[kept], ids.low[kept])
        admitted = batch if kept.all() else batch.take(np.flatnonzero(kept))
        return Admission(admitted, np.flatnonzero(seen), tuple(rejections))

    def refused_again(self, batch: RecordBatch, pending: MessageIds) -> tuple[Rejection, ...]:
        """The records of a repeated batch that were refused before, because their values are in another partition.

        Only message ids identify taken records: a record without one is never listed.
        """
        if not has_operations(batch):
            return ()
        ids = self.message_ids.hash(batch)
        with self._held():
            kept = ids.given & ~self.message_ids.known(ids) & ~pending.known(ids)
            return tuple(elsewhere(batch, kept, self.identity))

    def apply(self, batch: RecordBatch, sequence: SequenceNumber) -> None:
        """Makes a logged batch visible and remembers its ids."""
        self.apply_all([batch], sequence)

    def take_over(self, batch: RecordBatch) -> None:
        """Takes over versions that another partition held, with everything that follows from them."""
        with self._changing():
            self._apply_records(batch, SequenceNumber(self.sequence + 1), Given.COMPLETE)

    def apply_all(self, batches: Sequence[RecordBatch], last: SequenceNumber) -> None:
        """Applies batches that were logged one after another, up to sequence number `last`, as one piece."""
        # Joined and hashed before the lock is taken: captures for questions wait for it.
        whole = batches[0] if len(batches) == 1 else join_batches(batches)
        ids = self.message_ids.hash(whole)
        with self._changing():
            for part in in_turns(whole, self._memory.schema.attributes):
                self._apply_records(resolved(part, self._memory), last)
            start = 0
            for sequence, batch in enumerate(batches, last - len(batches) + 1):
                own = slice(start, start := start + len(batch))
                self.message_ids.add(ids.high[own], ids.low[own], batch.received_ms)
                self.batch_ids.add(batch.batch_id, SequenceNumber(sequence))
                self._received_ms = max(self._received_ms, batch.received_ms)

    def _apply_records(self, plain: RecordBatch, sequence: SequenceNumber, given: Given = Given.BY_RECORD) -> None:
        self._do(lambda memory: memory.apply(plain, sequence, given))
        self.identity.take_records(plain)

    def change_identity(self, change: IdentityChange, sequence: SequenceNumber) -> None:
        """Applies a logged change of identifiers; one caller at a time, and never alongside `apply`."""
        with self._changing():
            if isinstance(change, TakenElsewhere):
                self.message_ids.add(change.high, change.low, change.received_ms)
            # Capture and find under this one hold: a purge between the two would renumber the rows found.
            changes = self.identity.apply(change, sequence, self._memory.capture(), self._memory.find)
            # Some changes do not touch memory, but the result of a running purge needs their positions too.
            for each in (*changes, lambda memory: memory.pass_over(sequence)):
                self._do(each)

    def capture_moving(self) -> tuple[PartitionView, TransferReading]:
        """A stable reading, with the state of the transfers of profiles at the same moment."""
        # Every question does this for every partition: without the generator of `_held`, and without empty tables.
        with self._lock:
            self._fuse.check()
            transfers = self.identity.transfers
            moving = _NOTHING_MOVES if transfers.is_empty else transfers.reading(self._memory.in_transit)
            return self._memory.capture(), moving

    def with_identity(self, read: Callable[[IdentityState, Quarantine], Result]) -> Result:
        """Reads identifiers and quarantine while nothing changes; callable from any thread."""
        with self._held():
            return read(self.identity, self.quarantine)

    def pass_over(self, sequence: SequenceNumber) -> None:
        """Advances to `sequence`: the log entries before it were lost (salvage)."""
        with self._changing():
            self._do(lambda memory: memory.pass_over(sequence))

    def erase(self, identifiers: Sequence[bytes], sequence: SequenceNumber) -> int:
        """Removes profiles from every answer from now on; returns their number. `purge` removes their bytes."""
        with self._changing():
            erased = self._do(lambda memory: memory.erase(list(identifiers), sequence))
            # The entries before they are cut: afterwards the records to be marked as erased are no longer in them.
            before, self.quarantine = self.quarantine, self.quarantine.without(identifiers)
            apart = (before.batches_of(identifiers), self.quarantine.batches_changed(before))
            marks = self.message_ids.marks(Strings.of(identifiers))
            self.message_ids.forget(marks, *apart, self._received_ms)
            self.batch_ids.forget(marks, sequence)
            kept = without(self.identity, identifiers, self.key)
            if kept is not self.identity:
                kept.find_due(self._memory.find)
                self.identity = kept
            return erased

    def suppress(self, change: Suppression, sequence: SequenceNumber) -> None:
        """Stops accepting records under some identifiers, or accepts them again."""
        with self._changing():
            self.suppressions = self.suppressions.changed(change)
            self._do(lambda memory: memory.pass_over(sequence))

    def quarantine_records(self, change: QuarantineChange, sequence: SequenceNumber) -> None:
        """Keeps records that broke a rule, apart from all others, or releases some."""
        with self._changing():
            self.quarantine = self.quarantine.changed(change, sequence)
            if isinstance(change, Quarantined):
                self.batch_ids.add(change.batch.batch_id, sequence)
            self._do(lambda memory: memory.pass_over(sequence))

    def retain(self, retention: Retention, sequence: SequenceNumber) -> None:
        """Changes rules of retention and drops events; earlier views keep them."""
        with self._changing():
            self._do(lambda memory: memory.retain(retention, sequence))

    def overdue(self, now_ms: int) -> Mapping[str, int]:
        """The instant before which events are to be dropped now, by event name, where there are any."""
        with self._held():
            return self._memory.overdue(now_ms)

    def retention_days(self) -> Mapping[str, int]:
        """The rules of retention: days by event name, "" for all others."""
        with self._held():
            return dict(self._memory.retention_days)

    def cutoffs(self) -> Mapping[str, int]:
        """The instant before which events have been dropped, by event name."""
        view = self.capture()
        known = view.schema.events.items()
        return {name: view.summaries[number].cutoff_ms for name, number in known if number in view.summaries}

    def purge(self, rows_max: int = 0) -> bool:
        """Removes the remains of retention, or of more than `rows_max` erased profiles; True if anything was done.

        Runs alongside reads and writes; one caller of `maintain` and `purge` at a time. The new memory is built without
        the lock, and changes that arrive meanwhile are repeated on it. Writers wait only for the last few changes and
        the swap.
        """
        with self._held():
            if not self._memory.is_worth_purging(rows_max):
                return False
            # Captured and `_meanwhile` begun under one hold: a change between the two would be in neither.
            view, rules = self._memory.capture(), self._memory.retention_days
            forgotten, settled = self._memory.forgotten_names, self._memory.settled
            self._meanwhile = list[Change]()
        try:
            memory = purged(view, rules, self.key, self._layout, settled)
            # Without the lock until few changes are left: repeating them is faster than their arrival.
            while len(late := self._take_meanwhile()) > _LATE_CHANGES_MAX:
                apply_changes(late, memory)
            with self._held():
                # An admitted name stays reserved while its records are not applied yet.
                memory.schema.include(self._memory.schema, forgotten, view.schema)
                apply_changes([*late, *(self._meanwhile or ())], memory)
                self._memory, self._lineage = memory, self._lineage + 1
        finally:
            with self._lock:
                # Not `_held`: after a change that failed halfway it would raise and hide the first error.
                self._meanwhile = None
        return True

    def capture(self) -> PartitionView:
        """A stable reading of the partition."""
        with self._held():
            return self._memory.capture()

    def export(self) -> PartitionExport:
        """Contents of a snapshot at one position of the log, without anything of erased profiles."""
        with self._held():
            # All under one hold: a snapshot is the state between two records of the log.
            memory, lineage, received_ms = self._memory, self._lineage, self._received_ms
            view, rules, goes = memory.capture(), dict(memory.retention_days), memory.has_leavings
            settled = memory.settled
            ids, batches = self.message_ids.generations(), tuple(self.batch_ids.items())
            identity, suppressed, kept_apart = to_tables(self.identity), self.suppressions, self.quarantine
            if memory.in_transit:
                lineage = -1  # some identifiers are marked; other snapshots must not share them in this form
        if goes:
            # Rows are renumbered in the copy, so no other snapshot can share any of it.
            view, lineage = purged(view, rules, self.key, self._layout, settled).capture(), -1
        if len(suppressed):
            identity[suppressions.TABLE] = suppressed.to_table()
        if len(kept_apart):
            identity[quarantine.TABLE] = kept_apart.to_table()
        return PartitionExport(view, lineage, received_ms, rules, suppressed, kept_apart, ids, batches, identity)

    def load(self, parts: MemoryParts, ids: Sequence[IdGeneration], batches: Iterable[tuple[bytes, int]]) -> None:
        """Loads the contents of a snapshot into an empty partition."""
        with self._held():
            self._memory.load(parts)
            self.message_ids.remember(ids)
            for batch_id, sequence in batches:
                self.batch_ids.add(batch_id, SequenceNumber(sequence))
            self._received_ms = parts.received_ms

    def note_received(self, received_ms: int) -> None:
        """Counts everything up to an instant as received, as the previous partition of the contents did."""
        with self._held():
            self._received_ms = max(self._received_ms, received_ms)

    def load_identity(self, tables: IdentityTables) -> None:
        """Loads a snapshot's tables of identifiers; call it after `load`."""
        with self._held():
            self.identity = from_tables(tables, self.key)
            self.identity.find_due(self._memory.find)
            if suppressions.TABLE in tables:
                self.suppressions = Suppressions.from_table(self.key, tables[suppressions.TABLE])
            if quarantine.TABLE in tables:
                self.quarantine = Quarantine.from_table(tables[quarantine.TABLE])

    def remember_ids(self, older: Sequence[IdGeneration], found: Iterable[tuple[U64, U64, int]]) -> None:
        """Takes over ids of other partitions: `older` without identifiers, and parts of (high, low, received)."""
        with self._held():
            self.message_ids.remember(older)
            for high, low, received_ms in found:
                self.message_ids.add(high, low, received_ms)

    def rows_of(self, identifiers: Strings) -> I64:
        """The row of each encoded identifier, -1 where there is none."""
        with self._held():
            return self._memory.rows_of(identifiers)

    def add_summary(self, name: str, summary: Summary) -> None:
        """Keeps the summary of dropped events of a name; for a partition that is built from others."""
        with self._held():
            self._memory.add_summary(name, summary)

    def locate(self, identifiers: Sequence[bytes]) -> tuple[PartitionView, list[int | None]]:
        """A stable reading, with the row of each encoded identifier in it, or None."""
        with self._held():
            return self._memory.capture(), self._memory.find(list(identifiers))

    def texts(self) -> Texts:
        """Everything in memory that is text, at this moment."""
        with self._held():
            return texts_of(self._memory.capture(), self.identity, self.quarantine)

    def locate_person(self, identifier: bytes) -> tuple[PartitionView, int | None, OriginsReading | None]:
        """A stable reading, the row of an encoded identifier in it or None, and the origins of its records."""
        with self._held():
            [row] = self._memory.find([identifier])
            return self._memory.capture(), row, self.identity.origins.reading(identifier)

    def maintain(self, delta_max: int = DELTA_EVENTS_MAX, chunks_max: int = BUCKET_CHUNKS_MAX) -> bool:
        """Seals a delta of more than `delta_max` events and merges runs of at least `chunks_max` chunks.

        Runs alongside reads and writes; one caller at a time. True if anything was done. ValueError for less than two
        chunks: a single chunk cannot be merged.
        """
        if chunks_max < CHUNKS_MERGED_MIN:
            raise ValueError(f"chunks_max is {chunks_max}, but only {CHUNKS_MERGED_MIN} chunks or more can be merged")
        with self._held():
            both = (self._memory.events, self._memory.changes)
            due = [tables for tables in both if is_due(tables, delta_max, chunks_max)]
        worked = [maintain(tables, self._changing, delta_max, chunks_max) for tables in due]
        return any(worked)

    def status(self) -> PartitionStatus:
        """Sizes at this moment."""
        with self._held():
            memory, events = self._memory, self._memory.events
            ids = {"message_ids": self.message_ids.nbytes, "batch_ids": self.batch_ids.nbytes}
            own = {"identity": self.identity.nbytes, "quarantine": self.quarantine.nbytes}
            live, unsealed = len(memory) - memory.erased_count, events.delta_count + memory.changes.delta_count
            report = memory.memory_report() | ids | own
            return PartitionStatus(self.partition, memory.sequence, live, events.counts()[0], unsealed, report)

    def validate(self) -> None:
        """Raises StructureBroken if any rule of the structures is broken; reads everything, for tests."""
        with self._held():
            validate(self._memory)
            self.identity.validate(set(self._memory.in_transit))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Holds the lock, to read or to swap; StoreFailed after a change that failed halfway."""
        with self._lock:
            self._fuse.check()
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Holds the lock for a change, which completes or blows the fuse."""
        with self._lock, self._fuse.whole(f"a change of partition {self.partition}"):
            yield

    def _do(self, change: Callable[[PartitionMemory], Result]) -> Result:
        """Changes the memory and notes the change for the result of a running purge; the caller holds the lock."""
        if self._meanwhile is not None:
            self._meanwhile.append(change)
        return change(self._memory)

    def _take_meanwhile(self) -> list[Change]:
        with self._held():
            taken, self._meanwhile = self._meanwhile or [], list[Change]()
        return taken
