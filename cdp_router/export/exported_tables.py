"""Everything a partition holds, as Arrow tables of the export, in portions."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from cdp.v1 import export_pb2

from cdp_router.contract.arrow_streams import to_stream
from cdp_router.questions.member_stream import kinds_and_ids
from cdp_router.records.record_tables import table_of
from cdp_store.identity.claims import KeptClaims
from cdp_store.limits import PAGE_RECORDS
from cdp_store.memory.view import PartitionView
from cdp_store.reading.everything import attributes_of, events_of, profiles_of
from cdp_store.records.records import RecordBatch


def tables_of(view: PartitionView, claims: KeptClaims) -> Iterator[export_pb2.RecordTable]:
    """Links, profiles, values of attributes, events."""
    for start in range(0, len(claims), PAGE_RECORDS):
        yield _table(export_pb2.RECORD_KIND_LINK, _links(claims, start))
    for batch in profiles_of(view):
        owned = _owned(batch).drop_columns(["event", "values"])
        yield _table(export_pb2.RECORD_KIND_PROFILE, owned)
    for batch in attributes_of(view):
        yield _table(export_pb2.RECORD_KIND_ATTRIBUTE, _owned(batch).drop_columns(["event"]))
    for batch in events_of(view):
        yield _table(export_pb2.RECORD_KIND_EVENT, _owned(batch))


def _table(kind: export_pb2.RecordKind.ValueType, table: pa.Table) -> export_pb2.RecordTable:
    return export_pb2.RecordTable(kind=kind, arrow=to_stream(table), rows=table.num_rows)


def _owned(batch: RecordBatch) -> pa.Table:
    """Records with the identifiers of their profiles."""
    table = table_of(batch)
    [source] = table.column("source").chunks
    kinds, ids = kinds_and_ids(source.cast(pa.large_string()))
    rest = table.drop_columns(["source"])
    columns = {"profile_kind": kinds, "profile_id": ids}
    return pa.table({**columns, **dict(zip(rest.column_names, rest.columns, strict=True))})


def _links(claims: KeptClaims, start: int) -> pa.Table:
    stop = min(start + PAGE_RECORDS, len(claims))
    (kinds, ids), (linked_kinds, linked_ids) = (
        kinds_and_ids(_texts(*table).slice(start, stop - start)) for table in (claims.upper, claims.lower)
    )
    times = pa.array(claims.times[start:stop]).cast(pa.timestamp("ms", tz="UTC"))
    columns = [kinds, ids, linked_kinds, linked_ids, times]
    return pa.table(columns, names=["profile_kind", "profile_id", "linked_kind", "linked_id", "time"])


def _texts(offsets: pa.Array, data: pa.Array) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
