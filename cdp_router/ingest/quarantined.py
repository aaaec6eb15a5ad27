"""Records in quarantine as messages."""

from __future__ import annotations

from cdp.v1 import query_pb2, schema_pb2

from cdp_router.contract.values import to_timestamp, to_value
from cdp_router.ingest.quarantine import Entry
from cdp_store.ids import decode_identifier
from cdp_store.records.records import ATTRIBUTES
from cdp_store.values import KIND_MASK, TEXT_KINDS, Kind, decode_value


def to_quarantined(entry: Entry, at: int) -> schema_pb2.QuarantinedRecord:
    """One record of an entry."""
    batch, number = entry.records.batch, int(entry.records.batch.record_names[at])
    kind, value = decode_identifier(batch.identities[int(batch.record_identities[at])])
    message = schema_pb2.QuarantinedRecord(
        partition=entry.partition,
        sequence=entry.sequence,
        number=int(entry.records.numbers[at]),
        identifier=query_pb2.Identifier(kind=kind, value=value),
        time=to_timestamp(int(batch.record_times[at])),
        event="" if number == ATTRIBUTES else batch.names[number],
        message_id=batch.message_ids[at].decode(),
        received=to_timestamp(batch.received_ms),
        reason=entry.records.reasons[at],
    )
    for triple in range(int(batch.property_offsets[at]), int(batch.property_offsets[at + 1])):
        of_kind, raw = Kind(int(batch.triple_kinds[triple]) & KIND_MASK), int(batch.triple_raws[triple])
        text = batch.strings[raw] if of_kind in TEXT_KINDS else None
        found = decode_value(of_kind, raw, text)
        message.values[batch.keys[int(batch.triple_keys[triple])]].CopyFrom(to_value(found))
    return message
