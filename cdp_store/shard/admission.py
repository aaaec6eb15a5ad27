"""Admission of a group of deliveries: decides, before anything is logged, what they may add to the partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

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
from cdp_store.shard.link_admission import CheckedAt, Seated, forgotten, new_links, outdated, seat
from cdp_store.shard.logged import Logged, apply_logged

_NO_RECORDS: Final[I64] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch for one partition, with its links.

    links: links to be logged, whose lower identifiers live there. asked: links of the same kind, of which only the new
    ones are reported. wanted: links whose upper identifiers live there, which need seats. checked_at: positions for the
    links to be logged; without them, erasures since then are not looked for.
    """

    partition: PartitionId
    batch: RecordBatch
    links: Links | None = None
    asked: Links | None = None
    wanted: Wanted | None = None
    checked_at: CheckedAt | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a delivery.

    sequence: the partition's position that includes it. known: the records that had been taken before.

    news, forgotten: numbers of the asked links that are new, and of those with an erased identifier.

    refused, void, unseated: numbers of the wanted links. A refused one has no seat. A void one was stated by a record
    taken before, of a pair that is gone since. An unseated one was stated by such a record without a seat, and may have
    one now.

    undecided: no record was taken, since links that were left out may state such a pair again.

    asked_at: the partition's position when it looked at the links. doubted: numbers of the links that were not logged
    because their upper identifier was erased. Their seats must be checked.
    """

    sequence: SequenceNumber
    accepted: int
    known: I64
    rejections: tuple[Rejection, ...] = ()
    news: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    unseated: tuple[int, ...] = ()
    forgotten: tuple[int, ...] = ()
    undecided: bool = False
    asked_at: int = 0
    doubted: tuple[int, ...] = ()

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
    # Ids and batches of the group, kept apart from memory: nothing is applied before all of it is logged.
    ids = dict[PartitionId, MessageIds]()
    batches = dict[tuple[PartitionId, bytes], SequenceNumber]()
    sequences = dict[PartitionId, SequenceNumber]()
    seatings = defaultdict[PartitionId, list[Seating]](list)  # seats of this group, about to be taken

    def append(number: PartitionId, meaning: RecordBatch | Links | Seating) -> SequenceNumber:
        sequences[number] = SequenceNumber(sequences.get(number, partitions[number].sequence) + 1)
        pending.append(Pending(number, sequences[number], meaning))
        return sequences[number]

    for delivery in deliveries:
        partition = partitions[delivery.partition]
        key = (delivery.partition, delivery.batch.batch_id)
        known = partition.known_batch(delivery.batch) or (batches.get(key) if key[1] else None)
        seated, position, is_undecided = None, SequenceNumber(0), False
        if delivery.wanted is not None:
            # Seats precede the records in the log: a torn write never leaves a record without its seats.
            pending_ids = ids.setdefault(delivery.partition, partition.pending_ids())
            said, links = partition.message_ids.said, delivery.wanted.links
            repeats = said(links) | pending_ids.said(links) | (known is not None) | delivery.wanted.is_again
            seated = seat(partition, delivery.wanted, seatings[delivery.partition], repeats)
            is_undecided = known is None and _is_undecided(seated, delivery.wanted, delivery.batch)
            if len(seated.taken) and not is_undecided:
                seatings[delivery.partition].append(seated.taken)
                position = append(delivery.partition, seated.taken)
        if known is not None:
            group_ids = ids.get(delivery.partition) or partition.pending_ids()
            refused = partition.refused_again(delivery.batch, group_ids)
            others = np.delete(np.arange(len(delivery.batch)), [each.record for each in refused])
            outcome = Outcome(max(known, position), 0, others, refused)
        elif is_undecided:
            outcome = Outcome(sequences.get(delivery.partition, partition.sequence), 0, _NO_RECORDS, undecided=True)
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
            # Links follow the records that state them: after a torn write, a repeat of the records brings the links
            # again.
            news, doubted = _loggable(partition, delivery.links, delivery.checked_at)
            outcome = replace(outcome, doubted=doubted)
            if len(news):
                outcome = replace(outcome, sequence=append(delivery.partition, news))
        outcomes.append(_with_links(outcome, partition, delivery.asked, seated))
    return outcomes, pending


def told_by_ids(batch: RecordBatch) -> RecordBatch:
    """Accepted part of a batch with rejected records, without the batch's id where every record has one.

    So if the batch is sent again, taken records are known by message ids, and rejected ones are tried again.
    """
    ids = batch.message_ids.offsets
    # A record without an id is known by its batch alone, so the batch keeps its id.
    return replace(batch, batch_id=b"") if bool((ids[1:] > ids[:-1]).all()) else batch


def apply_pending(partitions: Mapping[PartitionId, Partition], pending: Iterable[Pending]) -> None:
    """Makes logged changes visible; joins consecutive small batches, since each piece has a high fixed cost."""
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
    """Runs that may be applied together: batches, while one batch may hold all their records and names."""
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


def _loggable(partition: Partition, links: Links, checked_at: CheckedAt | None) -> tuple[Links, tuple[int, ...]]:
    """The links that are to be logged, and the numbers of those whose seats must be checked first."""
    news = new_links(partition, links)
    if checked_at is None:
        return links.take(news), ()
    void, doubted = outdated(partition, links, checked_at)
    return links.take(news & ~void & ~doubted), _numbers(news & doubted)


def _with_links(outcome: Outcome, partition: Partition, asked: Links | None, seated: Seated | None) -> Outcome:
    """An outcome with the results of the asked and the wanted links."""
    outcome = replace(outcome, asked_at=partition.sequence)
    if asked is not None:
        news = np.flatnonzero(new_links(partition, asked))
        erased = news[forgotten(partition, asked.take(news).lower)]
        outcome = replace(outcome, news=tuple(news.tolist()), forgotten=tuple(erased.tolist()))
    if seated is not None:
        refused, void, unseated = map(_numbers, (seated.refused, seated.void, seated.unseated))
        outcome = replace(outcome, refused=refused, void=void, unseated=unseated)
    return outcome


def _is_undecided(seated: Seated, wanted: Wanted, batch: RecordBatch) -> bool:
    """True if a link that was left out may state a pair again: its seat must precede it in the log."""
    return wanted.leaves_out and len(batch) > 0 and bool((seated.void | seated.unseated).any())


def log_entry(pending: Pending) -> LogEntry:
    """Log entry of a pending change; BatchTooLarge where it does not fit one."""
    if isinstance(pending.meaning, RecordBatch):
        payload, kind = encode_batch(pending.meaning), RecordKind.BATCH
    else:
        payload, kind = encode_identity_change(pending.meaning), RecordKind.IDENTITY
    # Refused before anything of the group is written: no reader would accept a longer entry.
    if len(payload) > LOG_RECORD_BYTES_MAX:
        raise BatchTooLarge(len(payload), LOG_RECORD_BYTES_MAX)
    return LogEntry(pending.partition, pending.sequence, payload, kind)
