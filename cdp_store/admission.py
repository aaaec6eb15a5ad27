"""What a group of deliveries may add to the partitions: found out before anything is logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cdp_store.dedupe import MessageIds
from cdp_store.errors import BatchTooLarge
from cdp_store.identity.changes import IdentityChange, Links, encode_identity_change
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_RECORD_BYTES_MAX
from cdp_store.log.format import LogEntry, RecordKind
from cdp_store.name_limits import Rejection
from cdp_store.partition import Partition
from cdp_store.records import RecordBatch, encode_batch


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch for one partition, and what it says of identifiers that live there."""

    partition: PartitionId
    batch: RecordBatch
    links: Links | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery; `sequence` is the partition's position that includes it."""

    sequence: SequenceNumber
    accepted: int
    duplicates: int
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """What is about to be logged, and its position."""

    partition: PartitionId
    sequence: SequenceNumber
    meaning: RecordBatch | IdentityChange


def admit(
    partitions: Mapping[PartitionId, Partition], deliveries: Iterable[Delivery]
) -> tuple[list[Outcome], list[Pending]]:
    """What becomes of deliveries, and what of them is to be logged, in that order."""
    outcomes, pending = list[Outcome](), list[Pending]()
    ids = dict[PartitionId, MessageIds]()
    batches = dict[tuple[PartitionId, bytes], SequenceNumber]()
    sequences = dict[PartitionId, SequenceNumber]()

    def append(number: PartitionId, meaning: RecordBatch | Links) -> SequenceNumber:
        sequences[number] = SequenceNumber(sequences.get(number, partitions[number].sequence) + 1)
        pending.append(Pending(number, sequences[number], meaning))
        return sequences[number]

    for delivery in deliveries:
        partition = partitions[delivery.partition]
        key = (delivery.partition, delivery.batch.batch_id)
        known = partition.known_batch(delivery.batch) or (batches.get(key) if key[1] else None)
        if known is not None:
            outcome = Outcome(known, 0, len(delivery.batch))
        else:
            group_ids = ids.setdefault(delivery.partition, partition.pending_ids())
            admission = partition.admit(delivery.batch, group_ids)
            if len(admission.batch):
                batches[key] = append(delivery.partition, admission.batch)
            sequence = sequences.get(delivery.partition, partition.sequence)
            outcome = Outcome(sequence, len(admission.batch), admission.duplicates, admission.rejections)
        if delivery.links is not None:
            news = partition.fresh_links(delivery.links)
            if len(news):
                outcome = replace(outcome, sequence=append(delivery.partition, news))
        outcomes.append(outcome)
    return outcomes, pending


def log_entry(pending: Pending) -> LogEntry:
    """The log record of what is pending; BatchTooLarge where it does not fit one."""
    if isinstance(pending.meaning, RecordBatch):
        payload, kind = encode_batch(pending.meaning), RecordKind.BATCH
    else:
        payload, kind = encode_identity_change(pending.meaning), RecordKind.IDENTITY
    if len(payload) > LOG_RECORD_BYTES_MAX:
        raise BatchTooLarge(len(payload), LOG_RECORD_BYTES_MAX)
    return LogEntry(pending.partition, pending.sequence, payload, kind)
