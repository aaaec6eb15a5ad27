"""Applies a log record to its partition: the one place where kinds of records are distinguished."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_store.identity.identity_changes import IdentityChange, decode_identity_change
from cdp_store.ids import SequenceNumber
from cdp_store.log.controls import Erasure, Retention, Suppression, decode_erasure, decode_retention, decode_suppression
from cdp_store.log.format import LogRecord, RecordKind
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import QuarantineChange, Quarantined, Released, decode_quarantine_change
from cdp_store.records.records import RecordBatch, decode_batch


@dataclass(frozen=True, slots=True)
class Logged:
    """A decoded record; `meaning` is None where numbers were lost."""

    sequence: SequenceNumber
    meaning: RecordBatch | Erasure | Retention | Suppression | QuarantineChange | IdentityChange | None

    @staticmethod
    def decode(record: LogRecord) -> Logged:
        """The meaning of a record; BatchMalformed when its payload does not fit its kind."""
        match RecordKind(record.kind):
            case RecordKind.BATCH:
                return Logged(record.sequence, decode_batch(record.payload))
            case RecordKind.ERASE:
                return Logged(record.sequence, decode_erasure(record.payload))
            case RecordKind.RETENTION:
                return Logged(record.sequence, decode_retention(record.payload))
            case RecordKind.IDENTITY:
                return Logged(record.sequence, decode_identity_change(record.payload))
            case RecordKind.SUPPRESSION:
                return Logged(record.sequence, decode_suppression(record.payload))
            case RecordKind.QUARANTINE:
                return Logged(record.sequence, decode_quarantine_change(record.payload))
            case RecordKind.LOST:
                # Salvage writes it where records are missing, so that the log has no gap that a reader would refuse.
                return Logged(record.sequence, None)

    @property
    def received_ms(self) -> int:
        """Time when a batch was received, 0 for a record without a time of its own."""
        return self.meaning.received_ms if isinstance(self.meaning, RecordBatch) else 0


def apply_logged(partition: Partition, logged: Logged) -> None:
    """Applies a logged change to its partition."""
    match logged.meaning:
        case RecordBatch() as batch:
            partition.apply(batch, logged.sequence)
        case Erasure(identifiers=identifiers):
            partition.erase(identifiers, logged.sequence)
        case Retention() as retention:
            partition.retain(retention, logged.sequence)
        case Suppression() as suppression:
            partition.suppress(suppression, logged.sequence)
        case Quarantined() | Released() as change:
            partition.quarantine_records(change, logged.sequence)
        # Nothing is done, but the number counts: the following records continue from it.
        case None:
            partition.pass_over(logged.sequence)
        case identity_change:
            partition.change_identity(identity_change, logged.sequence)
