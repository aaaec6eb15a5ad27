"""From the columns of a file to the columns a cluster takes, where that gives what its rows would give.

`to_row` (mapping) says what a row means; here the same is done to whole columns. What columns cannot say, or say in
another way than rows, is left to the rows: maps, JSON, ids that are no text or integers, times that are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.cli.mapping import NO_EVENT, NO_TIME, TEXTS, ColumnMapping
from cdp_router.identity_columns import PREFIX
from cdp_router.wire.tables import is_values
from cdp_store.arrays import Bools
from cdp_store.ids import ANONYMOUS_ID, USER_ID
from cdp_store.limits import NAME_BYTES_MAX

_ROWS_ONLY: Final = ("properties", "attributes", "identifiers", "previous_id", "time_properties")
_EXPORTED: Final = (("profile_kind", "profile_id"), ("linked_kind", "linked_id"))
_TEXTS: Final = (*TEXTS, *chain.from_iterable(_EXPORTED))
_RESERVED: Final = (USER_ID, ANONYMOUS_ID, "time", "event", "message_id")
_INT64_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class MappedColumns:
    """Columns as `arrow_columns` takes them, the row of the batch each record was, and the rows that are none."""

    columns: pa.RecordBatch
    rows: npt.NDArray[np.intp]
    rejected: list[tuple[int, str]]


def columns_mappable(schema: pa.Schema, mapping: ColumnMapping) -> bool:
    """Whether batches of this schema mean as columns what they mean as rows."""
    if len(set(schema.names)) != len(schema.names):
        return False
    roles = _roles(schema, mapping)
    if any(roles[role] is not None for role in _ROWS_ONLY):
        return False
    if any(name.startswith("identifiers.") for name in schema.names):
        return False
    texts = (schema.field(name).type for role, name in roles.items() if role in _TEXTS and name is not None)
    time = None if roles["time"] is None else schema.field(roles["time"]).type
    return (
        all(map(_is_text_or_integer, texts))
        and (time is None or pa.types.is_timestamp(time) or pa.types.is_date(time) or pa.types.is_integer(time))
        and all(is_values(field) or _is_property(field) for field in _rest(schema, roles))
    )


def map_columns(batch: pa.RecordBatch, mapping: ColumnMapping) -> MappedColumns | None:
    """The records of a batch whose schema is mappable; None when its values are not. Dates are timestamps in it."""
    if any(_beyond_int64(column) for column in batch.columns):
        return None
    try:
        return _mapped(batch, mapping)
    except pa.ArrowInvalid:  # a time that no common unit holds
        return None


def _mapped(batch: pa.RecordBatch, mapping: ColumnMapping) -> MappedColumns:
    roles = _roles(batch.schema, mapping)
    columns = {role: _text(batch, roles[role]) for role in TEXTS}
    columns["event"] = pc.if_else(pc.equal(columns["event"], ""), None, columns["event"])
    if mapping.event_name is not None:
        columns["event"] = pc.fill_null(columns["event"], mapping.event_name)
    columns["time"] = _times(batch, roles["time"], mapping)
    nameless, timeless = _nulls(columns["event"]), _nulls(columns["time"])
    for kind, name in _EXPORTED:
        if roles[name] is not None:
            # What an export holds is an event or a change of attributes.
            nameless[:] = False
            for column, given in _identifiers(_text(batch, roles[kind]), _text(batch, roles[name])).items():
                # A record that is linked to another identifier of its own kind keeps its profile's.
                columns[column] = pc.coalesce(columns[column], given) if column in columns else given
    rows = np.flatnonzero(~(nameless | timeless))
    columns |= {field.name: batch.column(field.name) for field in _rest(batch.schema, roles)}
    whole = pa.record_batch(columns)
    rejected = [(int(row), NO_EVENT if nameless[row] else NO_TIME) for row in np.flatnonzero(nameless | timeless)]
    return MappedColumns(whole.take(pa.array(rows)) if rejected else whole, rows, rejected)


def _identifiers(kinds: pa.Array, values: pa.Array) -> dict[str, pa.Array]:
    """Identifiers of several kinds as a column for each kind."""
    return {
        kind if kind in (USER_ID, ANONYMOUS_ID) else f"{PREFIX}{kind}": pc.if_else(pc.equal(kinds, kind), values, None)
        for kind in pc.unique(kinds).to_pylist()
        if kind is not None
    }


def _roles(schema: pa.Schema, mapping: ColumnMapping) -> dict[str, str | None]:
    return mapping.columns(dict.fromkeys(schema.names))


def _rest(schema: pa.Schema, roles: dict[str, str | None]) -> Iterator[pa.Field]:
    """The columns that are properties."""
    used = set(roles.values())
    return (field for field in schema if field.name not in used and not pa.types.is_null(field.type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_text_or_integer(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(plain) or bool(pa.types.is_null(kind) or pa.types.is_integer(kind))


def _is_property(field: pa.Field) -> bool:
    if field.name in _RESERVED or not 1 <= len(field.name.encode()) <= NAME_BYTES_MAX:
        return False
    kind = field.type
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_scalar(kind.value_type)
    return _is_scalar(kind) or bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_decimal(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _beyond_int64(column: pa.Array) -> bool:
    """A column with one such integer is refused whole; in rows, only its record is."""
    return bool(pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) > _INT64_MAX)


def _text(batch: pa.RecordBatch, name: str | None) -> pa.Array:
    if name is None:
        return pa.nulls(len(batch), pa.string())
    column = batch.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if _is_text(column.type) else column.cast(pa.string())


def _times(batch: pa.RecordBatch, name: str | None, mapping: ColumnMapping) -> pa.Array:
    """Times in the unit they have, null where a record has none."""
    column = pa.nulls(len(batch), pa.timestamp("ms")) if name is None else batch.column(name)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.int64()).cast(pa.timestamp(mapping.time_unit))
    if mapping.default_time_ms is None or not column.null_count:
        return column
    if column.type.unit == "s":
        column = column.cast(pa.timestamp("ms", column.type.tz))
    default = pa.scalar(mapping.default_time_ms, pa.timestamp("ms", column.type.tz))
    return pc.fill_null(column, default.cast(column.type))


def _nulls(column: pa.Array) -> Bools:
    nulls: Bools = pc.is_null(column).to_numpy(zero_copy_only=False).copy()
    return nulls
