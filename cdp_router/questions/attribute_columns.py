"""Values of attributes as Arrow columns of plain types, for some rows of a partition at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cdp.v1 import moving_pb2, shard_pb2

from cdp_router.errors import RequestInvalid
from cdp_router.limits import MEMBER_ATTRIBUTES_MAX, MEMBER_MESSAGE_BYTES
from cdp_store.arrays import I64, U8, U32
from cdp_store.columns.column import column_value_bounds
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import AttributeReading
from cdp_store.values import TEXT_KINDS, Kind, unpack_list

RESERVED: Final = ("kind", "id")  # columns of who a member is
_WIDE: Final = 1 << 53  # float64 holds all integers up to here
_SCALAR_BYTES: Final = 8
_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_ISO: Final = "%Y-%m-%dT%H:%M:%SZ"
_NUMBERS: Final = frozenset((Kind.INT, Kind.FLOAT))
_TYPE_OF: Final = {
    Kind.BOOL: shard_pb2.COLUMN_TYPE_BOOLEAN,
    Kind.INT: shard_pb2.COLUMN_TYPE_INTEGER,
    Kind.FLOAT: shard_pb2.COLUMN_TYPE_NUMBER,
    Kind.TIME: shard_pb2.COLUMN_TYPE_TIME,
}
ARROW_TYPES: Final[Mapping[int, pa.DataType]] = {
    shard_pb2.COLUMN_TYPE_BOOLEAN: pa.bool_(),
    shard_pb2.COLUMN_TYPE_INTEGER: pa.int64(),
    shard_pb2.COLUMN_TYPE_NUMBER: pa.float64(),
    shard_pb2.COLUMN_TYPE_TIME: _INSTANT,
    shard_pb2.COLUMN_TYPE_TEXT: pa.large_string(),
}


@dataclass(frozen=True, slots=True)
class _Values:
    """An attribute of some rows: kinds u8[n], UNSET where there is none, and raws i64[n]."""

    attribute: int
    kinds: U8
    raws: I64


def kinds_met(view: PartitionView, names: Iterable[str], as_of_ms: int) -> list[moving_pb2.AttributeKinds]:
    """Of what kinds the values of attributes are as of an instant; nothing of those the partition has never seen."""
    known = view.schema.attributes
    return [_met(name, view.attribute_at(known[name], as_of_ms)) for name in names if name in known]


def _met(name: str, reading: AttributeReading | None) -> moving_pb2.AttributeKinds:
    columns = [column for block in (reading.blocks if reading else ()) if block for column in block.columns.values()]
    integers = (column_value_bounds(column) for column in columns if column.kind is Kind.INT)
    has_wide = any(low < -_WIDE or high > _WIDE for low, high in integers)
    kinds = sorted({int(column.kind) for column in columns})
    return moving_pb2.AttributeKinds(name=name, kinds=kinds, has_wide_integers=has_wide)


def columns_of(
    names: Sequence[str], met: Iterable[moving_pb2.AttributeKinds]
) -> tuple[list[shard_pb2.AttributeColumn], list[str]]:
    """The column of each attribute by what all partitions have met, and the names that none knows."""
    kinds, wide = dict[str, set[Kind]](), set[str]()
    for each in met:
        kinds.setdefault(each.name, set()).update(map(Kind, each.kinds))
        if each.has_wide_integers:
            wide.add(each.name)
    columns = [
        shard_pb2.AttributeColumn(
            attribute=name,
            column=_column_name(name),
            type=_type_of(kinds.get(name, set()), has_wide=name in wide),
        )
        for name in names
    ]
    return columns, [name for name in names if name not in kinds]


def check_names(names: Sequence[str]) -> None:
    """Raise RequestInvalid where attributes cannot be columns of one table."""
    if len(names) > MEMBER_ATTRIBUTES_MAX:
        raise RequestInvalid("attributes", f"at most {MEMBER_ATTRIBUTES_MAX}")
    known = set[str]()
    for number, name in enumerate(map(_column_name, names)):
        if name in known:
            raise RequestInvalid(f"attributes[{number}]", f"there are two columns {name!r}")
        known.add(name)


def _column_name(attribute: str) -> str:
    return f"attributes.{attribute}" if attribute in RESERVED else attribute


def _type_of(kinds: set[Kind], *, has_wide: bool) -> shard_pb2.ColumnType.ValueType:
    if len(kinds) == 1:
        return _TYPE_OF.get(next(iter(kinds)), shard_pb2.COLUMN_TYPE_TEXT)
    return shard_pb2.COLUMN_TYPE_NUMBER if kinds == _NUMBERS and not has_wide else shard_pb2.COLUMN_TYPE_TEXT


@dataclass(frozen=True, slots=True)
class AttributeColumns:
    """The columns wanted, read from one view as of an instant."""

    view: PartitionView
    wanted: Sequence[shard_pb2.AttributeColumn]
    readings: Mapping[str, AttributeReading]

    @staticmethod
    def of(view: PartitionView, wanted: Sequence[shard_pb2.AttributeColumn], as_of_ms: int) -> AttributeColumns:
        """The columns of a view; reading older values takes a pass over the history of an attribute."""
        readings = dict[str, AttributeReading]()
        for each in wanted:
            number = view.schema.attributes.get(each.attribute)
            reading = None if number is None else view.attribute_at(number, as_of_ms)
            if reading is not None:
                readings[each.attribute] = reading
        return AttributeColumns(view, wanted, readings)

    def pieces(self, rows: I64) -> Iterator[tuple[I64, dict[str, pa.Array]]]:
        """Some rows with the columns of them, as many as fit a message, until all were given."""
        if not self.wanted:
            yield rows, {}
            return
        read = [self._values(each, rows.astype(np.uint32)) for each in self.wanted]
        sizes = sum((self._sizes(each) for each in read), np.zeros(rows.shape[0], np.int64))
        number = np.cumsum(sizes) // MEMBER_MESSAGE_BYTES
        cuts = np.flatnonzero(np.diff(number)) + 1
        for part in np.split(np.arange(rows.shape[0]), cuts):
            columns = {
                each.column: self._array(_Values(values.attribute, values.kinds[part], values.raws[part]), each.type)
                for each, values in zip(self.wanted, read, strict=True)
            }
            yield rows[part], columns

    def _values(self, column: shard_pb2.AttributeColumn, rows: U32) -> _Values:
        number, reading = self.view.schema.attributes.get(column.attribute, 0), self.readings.get(column.attribute)
        if reading is None:
            return _Values(number, np.zeros(rows.shape[0], np.uint8), np.zeros(rows.shape[0], np.int64))
        return _Values(number, *reading.values(rows))

    def _sizes(self, values: _Values) -> I64:
        """Bytes of each value: i64[n]."""
        sizes: I64 = np.full(values.kinds.shape[0], _SCALAR_BYTES, np.int64)
        for kind in TEXT_KINDS:
            own = values.kinds == kind
            if own.any():
                offsets, _ = self.view.string_arena(values.attribute, attribute=True, is_list=kind is Kind.LIST)
                codes = values.raws[own]
                sizes[own] += offsets[codes + 1].astype(np.int64) - offsets[codes]
        return sizes

    def _array(self, values: _Values, wanted: shard_pb2.ColumnType.ValueType) -> pa.Array:
        kinds, raws = values.kinds, values.raws
        match wanted:
            case shard_pb2.COLUMN_TYPE_NUMBER:
                floats = np.where(kinds == Kind.FLOAT, raws.view(np.float64), raws.astype(np.float64))
                return pa.array(floats, mask=kinds == Kind.UNSET)
            case shard_pb2.COLUMN_TYPE_TEXT:
                return self._texts(values)
            case shard_pb2.COLUMN_TYPE_BOOLEAN:
                return _plain(Kind.BOOL, kinds, raws)
            case shard_pb2.COLUMN_TYPE_TIME:
                return _plain(Kind.TIME, kinds, raws)
        return _plain(Kind.INT, kinds, raws)

    def _texts(self, values: _Values) -> pa.Array:
        """Values of all kinds as text."""
        found = [self._texts_of(Kind(kind), values) for kind in np.unique(values.kinds[values.kinds != Kind.UNSET])]
        if not found:
            return pa.nulls(values.kinds.shape[0], pa.large_string())
        return found[0] if len(found) == 1 else pc.coalesce(*found)

    def _texts_of(self, kind: Kind, values: _Values) -> pa.Array:
        kinds, raws = values.kinds, values.raws
        if kind is Kind.STRING:
            texts = self.view.strings(values.attribute, attribute=True).chunk(0)
            return texts.take(pa.array(raws, mask=kinds != kind)).cast(pa.large_string())
        if kind is Kind.LIST:
            distinct, index = np.unique(raws[kinds == kind], return_inverse=True)
            lists = self.view.strings(values.attribute, attribute=True, is_list=True)
            json = pa.array([_json(lists[int(code)].as_py()) for code in distinct], pa.large_string())
            numbers: I64 = np.zeros(raws.shape[0], np.int64)
            numbers[kinds == kind] = index
            return json.take(pa.array(numbers, mask=kinds != kind))
        plain = _plain(kind, kinds, raws)
        return (pc.strftime(plain, format=_ISO) if kind is Kind.TIME else plain).cast(pa.large_string())


def _plain(kind: Kind, kinds: U8, raws: I64) -> pa.Array:
    """The values of one kind, the others null."""
    mask = kinds != kind
    match kind:
        case Kind.BOOL:
            return pa.array(raws != 0, mask=mask)
        case Kind.FLOAT:
            return pa.array(raws.view(np.float64), mask=mask)
        case Kind.TIME:
            return pa.array(raws, mask=mask).cast(_INSTANT)
    return pa.array(raws, mask=mask)


def _json(packed: bytes) -> str:
    items: list[Any] = unpack_list(packed)
    return msgspec.json.encode(items).decode()
