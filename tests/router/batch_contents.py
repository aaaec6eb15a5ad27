"""What a batch says, as plain values."""

from __future__ import annotations

from typing import Any

from cdp_store.records.records import ATTRIBUTES, RecordBatch
from cdp_store.values import TEXT_KINDS


def contents(batch: RecordBatch) -> list[Any]:
    """(identity, event name or None, time, message id, [(key, kind, bytes or raw)]) of every record, in order."""
    found = list[Any]()
    for record in range(len(batch)):
        name = int(batch.record_names[record])
        values = []
        for triple in range(batch.property_offsets[record], batch.property_offsets[record + 1]):
            kind, raw = int(batch.triple_kinds[triple]), int(batch.triple_raws[triple])
            value = batch.strings[raw] if kind in TEXT_KINDS else raw
            values.append((batch.keys[batch.triple_keys[triple]], kind, value))
        found.append((
            batch.identities[int(batch.record_identities[record])], None if name == ATTRIBUTES else batch.names[name],
            int(batch.record_times[record]), batch.message_ids[record], values,
        ))  # fmt: skip
    return found
