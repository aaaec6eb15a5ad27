"""Converts columns of a file to columns of a cluster, if the result equals that of converting its rows.

`to_row` (row_mapping) defines the meaning of a row; this module does the same to whole columns. Rows handle what
columns cannot express, or express differently: maps, JSON, ids other than text or integers, ambiguous times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.cli.data.row_mapping import AUTO, NO_TIME, TEXTS, ColumnMapping, no_event
from cdp_router.contract.arrow_streams import is_values
from cdp_router.importing.content_ids import lanes_of
from cdp_router.importing.read_options import Reading
from cdp_router.records.decimal_columns import short_decimals
from cdp_router.records.identity_columns import PREFIX
from cdp_router.records.instants import PER_SECOND, SURE_END_MS, SURE_FIRST_MS
from cdp_store.arrays import I64, U64, Bools
from cdp_store.ids import ANONYMOUS_ID, USER_ID
from cdp_store.limits import NAME_BYTES_MAX

_ROWS_ONLY: Final = ("properties", "attributes", "identifiers", "previous_id", "time_properties")
_EXPORTED: Final = (("profile_kind", "profile_id"), ("linked_kind", "linked_id"))
_TEXTS: Final = (*TEXTS, *chain.from_iterable(_EXPORTED))
_RESERVED: Final = (USER_ID, ANONYMOUS_ID, "time", "event", "message_id")
_INT64_MAX: Final = (1 << 63) - 1
_EXTENSION: Final = b"ARROW:extension:name"


@dataclass(frozen=True, slots=True)
class MappedColumns:
    """Columns as `arrow_columns` takes them, the row of the batch for each record, and the rejected rows."""

    columns: pa.RecordBatch
    rows: npt.NDArray[np.intp]
    rejected: list[tuple[int, str]]

    def with_ids(self, ids: pa.Array) -> pa.RecordBatch:
        """The columns, with these ids for records without a message id."""
        place = self.columns.schema.get_field_index("message_id")
        given = self.columns.column(place).cast(pa.large_string())
        wanted = pc.if_else(pc.equal(given, ""), None, given)
        return self.columns.set_column(place, "message_id", pc.coalesce(wanted, ids))


@dataclass(frozen=True, slots=True)
class ContentRules:
    """Content of a row apart from its values: the meaning of columns, and a hash of how they are read."""

    paths: Mapping[str, str]
    lanes: U64


def content_rules(schema: pa.Schema, mapping: ColumnMapping, reading: Reading) -> ContentRules:
    """Content of the rows of a file of this schema: the column of a role counts as the role, whatever its name."""
    paths = {name: f"\0{role}" for role, name in _roles(schema, mapping).items() if name is not None}
    plain = mapping.event_name, mapping.default_time_ms, mapping.time_unit, mapping.profiles, mapping.nulls
    told = (*plain, sorted(mapping.times), reading.binary, sorted(reading.as_text))
    return ContentRules(paths, lanes_of([repr(told).encode()])[0])


def columns_mappable(schema: pa.Schema, mapping: ColumnMapping) -> bool:
    """True if batches of this schema mean the same as columns and as rows."""
    if len(set(schema.names)) != len(schema.names):
        return False
    roles = _roles(schema, mapping)
    if mapping.profiles or any(path in schema.names for path in mapping.times):
        return False
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
    """The records of a batch whose schema is mappable; None if its values are not. Decimals become numbers."""
    if any(_beyond_int64(column) for column in batch.columns):
        return None
    try:
        batch.validate(full=True)  # some texts are not UTF-8
        plain = _plain(batch)
        return None if plain is None else _mapped(plain, mapping)
    except pa.ArrowInvalid:  # a time that no common unit can represent
        return None


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch | None:
    """The batch with numbers in place of decimals; None if one of them is no number of 64 bits."""
    columns = [_plain_column(column) for column in batch.columns]
    return None if any(column is None for column in columns) else pa.record_batch(columns, names=batch.schema.names)


def _plain_column(column: pa.Array) -> pa.Array | None:
    kind = column.type
    if pa.types.is_decimal(kind):
        return column.cast(pa.int64()) if kind.scale <= 0 else _floats(column)
    return column.cast(pa.large_string()) if pa.types.is_string_view(kind) else column


def _floats(column: pa.Array) -> pa.Array | None:
    """The float64 nearest to each decimal; None if two decimals of this type could become one."""
    floats, is_short = short_decimals(column)
    nulls = _nulls(column)
    return pa.array(floats, mask=nulls) if (is_short | nulls).all() else None


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
            # An export contains only events and changes of attributes.
            nameless[:] = False
            for column, given in _identifiers(_text(batch, roles[kind]), _text(batch, roles[name])).items():
                # A record that is linked to another identifier of its own kind keeps its profile's identifier.
                columns[column] = pc.coalesce(columns[column], given) if column in columns else given
    rows = np.flatnonzero(~(nameless | timeless))
    columns |= {field.name: batch.column(field.name) for field in _rest(batch.schema, roles)}
    whole, reason = pa.record_batch(columns), no_event(batch.schema.names)
    rejected = [(int(row), reason if nameless[row] else NO_TIME) for row in np.flatnonzero(nameless | timeless)]
    return MappedColumns(whole.take(pa.array(rows)) if rejected else whole, rows, rejected)


def _identifiers(kinds: pa.Array, values: pa.Array) -> dict[str, pa.Array]:
    """Identifiers of several kinds as one column per kind."""
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
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_text_or_integer(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(plain) or bool(pa.types.is_null(kind) or pa.types.is_integer(kind))


def _is_property(field: pa.Field) -> bool:
    if field.name in _RESERVED or not 1 <= len(field.name.encode()) <= NAME_BYTES_MAX:
        return False
    if field.metadata and _EXTENSION in field.metadata:
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
    """True for a column with an integer beyond 64 bits, which would refuse all its records; in rows, only one is
    refused.
    """
    return bool(pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) > _INT64_MAX)


def _text(batch: pa.RecordBatch, name: str | None) -> pa.Array:
    if name is None:
        return pa.nulls(len(batch), pa.string())
    column = batch.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if _is_text(column.type) else column.cast(pa.string())


def _times(batch: pa.RecordBatch, name: str | None, mapping: ColumnMapping) -> pa.Array:
    """Times in their own unit, null where a record has none."""
    column = pa.nulls(len(batch), pa.timestamp("ms")) if name is None else batch.column(name)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    if pa.types.is_integer(column.type):
        counts = column.cast(pa.int64())
        column = _sized(counts) if mapping.time_unit == AUTO else counts.cast(pa.timestamp(mapping.time_unit))
    if mapping.default_time_ms is None or not column.null_count:
        return column
    if column.type.unit == "s":
        column = column.cast(pa.timestamp("ms", column.type.tz))
    default = pa.scalar(mapping.default_time_ms, pa.timestamp("ms", column.type.tz))
    return pc.fill_null(column, default.cast(column.type))


def _sized(counts: pa.Array) -> pa.Array:
    """Instants of counts whose size decides their unit; ArrowInvalid if the size of one is ambiguous."""
    instants, told = sure_instants(pc.fill_null(counts, SURE_FIRST_MS).to_numpy(zero_copy_only=False), AUTO)
    if not told.all():
        raise pa.ArrowInvalid("a number whose size tells no unit")
    return pa.array(instants, mask=counts.is_null().to_numpy(zero_copy_only=False)).cast(pa.timestamp("ms"))


def sure_instants(counts: I64, unit: str) -> tuple[I64, Bools]:
    """Milliseconds of counts, and a mask of those in unambiguous years; AUTO decides the unit by size."""
    instants, told = np.zeros(counts.shape[0], np.int64), np.zeros(counts.shape[0], np.bool_)
    for per in PER_SECOND.values() if unit == AUTO else (PER_SECOND[unit],):
        own = (counts >= SURE_FIRST_MS * per // 1000) & (counts < SURE_END_MS * per // 1000)
        instants[own] = counts[own] * 1000 // per if per < 1000 else counts[own] // (per // 1000)
        told |= own
    return instants, told


def _nulls(column: pa.Array) -> Bools:
    nulls: Bools = pc.is_null(column).to_numpy(zero_copy_only=False).copy()
    return nulls
