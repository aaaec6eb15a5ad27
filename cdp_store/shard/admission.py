"""Admission of a group of deliveries: decides, before anything is logged, what they may add to the partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cdp_store.arrays import I64, Bools
from cdp_store.errors import BatchTooLarge
from cdp_store.identity.identity_changes import IdentityChange, Links, Seating, encode_identity_change
from cdp_store.identity.seats import Wanted
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import APPLIED_RECORDS_MAX, LOG_RECORD_BYTES_MAX, NAMES_PER_BATCH_MAX
from cdp_store.log.format import LogEntry, RecordKind
from cdp_store.memory.name_limits import Rejection
from cdp_store.partition.dedupe import MessageIds
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, encode_batch
from cdp_store.shard.logged import Logged, apply_logged


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch for one partition, and what it says of identifiers: `links` of those that live there, which are logged;
    `asked` of the same, of which is only told what would be news; `wanted` of those whose upper ones live there."""

    partition: PartitionId
    batch: RecordBatch
    links: Links | None = None
    asked: Links | None = None
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a delivery; `sequence` is the partition's position that includes it, `known` are the records that
    had been taken before, `news` numbers those of the asked links that say something new, `refused` those of the wanted
    ones for which there is no seat, and `void` those that a record taken before said of a pair that has gone since."""

    sequence: SequenceNumber
    accepted: int
    known: I64
    rejections: tuple[Rejection, ...] = ()
    news: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    void: tuple[int, ...] = ()

    @property
    def duplicates(self) -> int:
        """Number of records that had been taken before."""
        return int(self.known.shape[0])


@dataclass(frozen=True, slots=True)
class Pending:
    """Change that is about to be logged, and its position."""

    partition: PartitionId
    sequence: SequenceNumber
    meaning: RecordBatch | IdentityChange


def admit(
    partitions: Mapping[PartitionId, Partition], deliveries: Iterable[Delivery]
) -> tuple[list[Outcome], list[Pending]]:
    """Outcomes of deliveries, and the changes that are to be logged, in that order."""
    outcomes, pending = list[Outcome](), list[Pending]()
    ids = dict[PartitionId, MessageIds]()
    batches = dict[tuple[PartitionId, bytes], SequenceNumber]()
    sequences = dict[PartitionId, SequenceNumber]()
    seatings = defaultdict[PartitionId, list[Seating]](list)  # of this group, about to be taken

    def append(number: PartitionId, meaning: RecordBatch | Links | Seating) -> SequenceNumber:
        sequences[number] = SequenceNumber(sequences.get(number, partitions[number].sequence) + 1)
        pending.append(Pending(number, sequences[number], meaning))
        return sequences[number]

    for delivery in deliveries:
        partition = partitions[delivery.partition]
        key = (delivery.partition, delivery.batch.batch_id)
        known = partition.known_batch(delivery.batch) or (batches.get(key) if key[1] else None)
        seated, position = None, SequenceNumber(0)
        if delivery.wanted is not None:
            # Seats stand before the records in the log: of a write that is torn, no record is left without its seats.
            pending_ids = ids.setdefault(delivery.partition, partition.pending_ids())
            repeats = partition.said_before(delivery.wanted.links, pending_ids) | (known is not None)
            seated = _seated(partition, delivery.wanted, seatings[delivery.partition], repeats)
            if len(seated.taken):
                seatings[delivery.partition].append(seated.taken)
                position = append(delivery.partition, seated.taken)
        if known is not None:
            group_ids = ids.get(delivery.partition) or partition.pending_ids()
            refused = partition.refused_again(delivery.batch, group_ids)
            others = np.delete(np.arange(len(delivery.batch)), [each.record for each in refused])
            outcome = Outcome(max(known, position), 0, others, refused)
        else:
            group_ids = ids.setdefault(delivery.partition, partition.pending_ids())
            admission = partition.admit(delivery.batch, group_ids)
            if len(admission.batch):
                logged = told_by_ids(admission.batch) if admission.rejections else admission.batch
                sequence = append(delivery.partition, logged)
                if logged.batch_id:
                    batches[key] = sequence
            sequence = sequences.get(delivery.partition, partition.sequence)
            outcome = Outcome(sequence, len(admission.batch), admission.known, admission.rejections)
        if delivery.links is not None:
            news = partition.fresh_links(delivery.links)
            if len(news):
                outcome = replace(outcome, sequence=append(delivery.partition, news))
        if delivery.asked is not None:
            outcome = replace(outcome, news=_numbers(partition.new_links(delivery.asked)))
        if seated is not None:
            outcome = replace(outcome, refused=_numbers(seated.refused), void=_numbers(seated.void))
        outcomes.append(outcome)
    return outcomes, pending


def told_by_ids(batch: RecordBatch) -> RecordBatch:
    """Accepted part of a batch with rejected records, without the batch's id where every record has one.

    So when the batch comes again, what was taken is known by message ids, and what was rejected is tried again.
    """
    ids = batch.message_ids.offsets
    return replace(batch, batch_id=b"") if bool((ids[1:] > ids[:-1]).all()) else batch


def apply_pending(partitions: Mapping[PartitionId, Partition], pending: Iterable[Pending]) -> None:
    """Make what was logged visible; small batches that stand one behind the other in one go, as a piece costs much
    beside its records."""
    by_partition = defaultdict[PartitionId, list[Pending]](list)
    for each in pending:
        by_partition[each.partition].append(each)
    for number, entries in by_partition.items():
        for run in _runs(entries):
            batches = [each.meaning for each in run if isinstance(each.meaning, RecordBatch)]
            if batches:
                partitions[number].apply_all(batches, run[-1].sequence)
            else:
                apply_logged(partitions[number], Logged(run[0].sequence, run[0].meaning))


def _runs(entries: Iterable[Pending]) -> Iterator[list[Pending]]:
    """Runs that may be applied together: batches, as long as one may hold their records and name what they name."""
    run, records, names, keys = list[Pending](), 0, 0, 0
    for entry in entries:
        batch = entry.meaning
        if isinstance(batch, RecordBatch):
            records, names, keys = records + len(batch), names + len(batch.names), keys + len(batch.keys)
            if records <= APPLIED_RECORDS_MAX and max(names, keys) <= NAMES_PER_BATCH_MAX:
                run.append(entry)
                continue
        if run:
            yield run
        run, records, names, keys = [], 0, 0, 0
        if isinstance(batch, RecordBatch):
            run, records, names, keys = [entry], len(batch), len(batch.names), len(batch.keys)
        else:
            yield [entry]
    if run:
        yield run


def _numbers(flags: Bools) -> tuple[int, ...]:
    return tuple(np.flatnonzero(flags).tolist())


@dataclass(frozen=True, slots=True)
class _Seated:
    """Of some links those without a seat, and those that are void: bool[n] each; and the seats that the others take."""

    refused: Bools
    void: Bools
    taken: Seating


def _seated(partition: Partition, wanted: Wanted, before: Sequence[Seating], repeats: Bools) -> _Seated:
    """Mask of the links that have a seat, or may take one alongside those that are about to.

    A pair that a record named when it was taken has had a seat since. A repeat that finds none names a pair of which
    one was erased, or for which there was no seat: it takes none now.
    """
    seats, suppressions = partition.identity.seats, partition.suppressions
    seating = seats.seating_of(wanted.links)
    void = repeats & ~seats.hold(seating, before)
    granted: Bools = np.ones(len(seating), np.bool_)
    for chosen in (np.flatnonzero(~void), np.flatnonzero(void)):
        granted[chosen] = seats.granted(seating.take(chosen), wanted.limits, before)
    suppressed = suppressions.among(wanted.links.lower) | suppressions.among(wanted.links.upper)
    # Seats that others of the group take too are in the log twice, which changes nothing.
    taken = seats.news(seating.take(np.flatnonzero(granted & ~suppressed & ~void)))
    return _Seated(~granted, void & granted, taken)


def log_entry(pending: Pending) -> LogEntry:
    """The log record of what is pending; BatchTooLarge where it does not fit one."""
    if isinstance(pending.meaning, RecordBatch):
        payload, kind = encode_batch(pending.meaning), RecordKind.BATCH
    else:
        payload, kind = encode_identity_change(pending.meaning), RecordKind.IDENTITY
    if len(payload) > LOG_RECORD_BYTES_MAX:
        raise BatchTooLarge(len(payload), LOG_RECORD_BYTES_MAX)
    return LogEntry(pending.partition, pending.sequence, payload, kind)
