"""How the events of a profile came in: cold columns beside its timeline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from cdp.v1 import query_pb2

from cdp_router.wire.values import to_timestamp
from cdp_store.ids import decode_identifier
from cdp_store.values import to_ms


def add_origins(timeline: Iterable[query_pb2.ProfileEvent], rows: pa.Table) -> None:
    """Set the origin of events, given latest first and without a gap among those of one name and time.

    `rows` are the person's (snapshot.cold.tables.SCHEMA), in order of arrival; events without one are left alone.
    """
    waiting = dict[tuple[str | None, int], list[dict[str, Any]]]()
    for row in rows.to_pylist():
        waiting.setdefault((row["name"], to_ms(row["time"])), []).append(row)
    for event in timeline:
        same = waiting.get((event.name, event.time.ToMilliseconds()))
        if same:
            event.origin.CopyFrom(_origin(same.pop()))


def _origin(row: dict[str, Any]) -> query_pb2.EventOrigin:
    kind, value = decode_identifier(row["identifier"].encode())
    return query_pb2.EventOrigin(
        message_id=row["message_id"] or "",
        source=query_pb2.Identifier(kind=kind, value=value),
        received=to_timestamp(to_ms(row["received"])),
        partition=row["partition"],
        sequence=row["sequence"],
    )
