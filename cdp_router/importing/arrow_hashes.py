"""Hashes of the rows of Arrow batches by their meaning, not by their storage.

The hash of a row does not depend on dictionaries, runs, views or large types, on units and zones of instants, on the
order of columns and fields, or on empty columns. Numbers count the same as integers, floats and decimals.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.importing.content_ids import lanes_of, mixed
from cdp_router.importing.numbers import Unkept, decimal_of
from cdp_store.arrays import I64, U64, AnyArray

_TAGS: Final = {
    name: np.uint64(number * 0x9E3779B97F4A7C15 % (1 << 64))
    for number, name in enumerate(("nothing", "boolean", "integer", "float", "text", "bytes", "time", "length"), 1)
}
_SECOND_LANE: Final = np.uint64(0xD6E8FEB86659FD93)
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_PER_MILLISECOND: Final = {"ms": 1, "us": 1000, "ns": 1_000_000}
_DAY_MS: Final = 86_400_000
_EXACT_FLOAT_MAX: Final = float(1 << 63)


def row_hashes(batch: pa.RecordBatch, path_of: Callable[[str], str]) -> U64:
    """A 128-bit hash of each row: u64[n, 2]; `path_of` returns the path that a column counts as."""
    found: U64 = np.zeros((len(batch), 2), np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        found += _hashes(path_of(name), column)
    return mixed(found)


def _hashes(path: str, column: pa.Array) -> U64:
    """Hashes of the values of a column, 0 where there is none: u64[n, 2]."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _taken(_hashes(path, column.dictionary), column.indices)
    if pa.types.is_run_end_encoded(kind):
        return _hashes(path, pc.run_end_decode(column))
    if pa.types.is_struct(kind):
        fields = zip(kind, column.flatten(), strict=True)
        found = _zeros(len(column))
        for field, child in fields:
            found += _hashes(f"{path}.{field.name}", child)
        return found
    values = _values(column)
    values = mixed(values + lanes_of([path.encode()]))
    values[~_valid(column)] = 0
    return values


def _values(column: pa.Array) -> U64:
    kind = column.type
    if pa.types.is_map(kind):
        return _maps(column)
    if hasattr(kind, "value_type"):
        return _lists(column)
    if pa.types.is_null(kind):
        return _zeros(len(column))
    if pa.types.is_boolean(kind):
        return _tagged("boolean", _filled(column.cast(pa.int8())).astype(np.uint64))
    if pa.types.is_integer(kind):
        return _tagged("integer", _filled(column).astype(np.uint64))
    if pa.types.is_floating(kind):
        return _floats(_filled(column).astype(np.float64))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants(column)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _tagged("length", (_counts(column) * _NANOSECONDS[kind.unit]).view(np.uint64))
    if pa.types.is_decimal(kind):
        return _decimals(column)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return _texts("text" if is_text else "bytes", column)


def _texts(tag: str, column: pa.Array) -> U64:
    encoded = column.cast(pa.large_binary()).dictionary_encode()
    return _taken(_tagged(tag, lanes_of(encoded.dictionary.to_pylist())), encoded.indices)


def _decimals(column: pa.Array) -> U64:
    """Hashes of decimals by the number that each is stored as; of those that cannot be stored, by their digits."""
    encoded = column.cast(pa.string()).dictionary_encode()
    numbers = [decimal_of(Decimal(text)) for text in encoded.dictionary.to_pylist()]
    integers, floats, others = (
        [place for place, number in enumerate(numbers) if isinstance(number, kind)] for kind in (int, float, Unkept)
    )
    found = _zeros(len(numbers))
    found[integers] = _tagged("integer", np.array([numbers[at] for at in integers], np.int64).view(np.uint64))
    found[floats] = _floats(np.array([numbers[at] for at in floats], np.float64))
    found[others] = _tagged("float", lanes_of([_digits(numbers[at]) for at in others]))
    return _taken(found, encoded.indices)


def _digits(number: int | float | Unkept) -> bytes:
    text = number.text if isinstance(number, Unkept) else repr(number)
    return (text.rstrip("0") if "." in text else text).encode()


def _floats(values: AnyArray) -> U64:
    with np.errstate(invalid="ignore"):
        is_whole = (values == np.floor(values)) & (np.abs(values) < _EXACT_FLOAT_MAX)
        whole = _tagged("integer", np.where(is_whole, values, 0).astype(np.int64).view(np.uint64))
    plain = np.where(np.isnan(values), np.nan, values)
    found: U64 = np.where(is_whole[:, None], whole, _tagged("float", plain.view(np.uint64)))
    return found


def _instants(column: pa.Array) -> U64:
    kind, counts = column.type, _counts(column)
    if pa.types.is_date32(kind):
        return _tagged("time", (counts * _DAY_MS).view(np.uint64))
    if pa.types.is_date64(kind) or kind.unit == "s":
        return _tagged("time", (counts * (1 if pa.types.is_date64(kind) else 1000)).view(np.uint64))
    ms, rest = np.divmod(counts, _PER_MILLISECOND[kind.unit])
    finer = (rest * (1_000_000 // _PER_MILLISECOND[kind.unit])).astype(np.uint64)
    return _tagged("time", ms.view(np.uint64)) + finer[:, None]


def _lists(column: pa.Array) -> U64:
    starts, stops, items = _bounds(column)
    hashes = _hashes("", items)
    hashes[~_valid(items)] = _TAGS["nothing"]
    lengths, owners = stops - starts, np.repeat(np.arange(len(column)), stops - starts)
    place = np.arange(owners.shape[0]) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.repeat(starts, lengths) + place
    own = mixed(hashes[at] + (place.astype(np.uint64) * _TAGS["length"])[:, None])
    return _summed(own, owners, len(column)) + _tagged("length", lengths.astype(np.uint64))


def _maps(column: pa.Array) -> U64:
    starts, stops, _ = _bounds(column)
    keys, items = _hashes("", column.keys), _hashes("", column.items)
    items[~_valid(column.items)] = _TAGS["nothing"]
    lengths = stops - starts
    owners = np.repeat(np.arange(len(column)), lengths)
    at = np.repeat(starts, lengths) + np.arange(owners.shape[0]) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _summed(mixed(keys[at] + mixed(items[at])), owners, len(column)) + _tagged(
        "length", lengths.astype(np.uint64)
    )


def _bounds(column: pa.Array) -> tuple[I64, I64, pa.Array]:
    """Bounds of the items of each list among all of them; null lists have none."""
    kind, count = column.type, len(column)
    if pa.types.is_fixed_size_list(kind):
        starts: I64 = (column.offset + np.arange(count, dtype=np.int64)) * kind.list_size
        stops = starts + kind.list_size
    elif pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = column.offsets.to_numpy().astype(np.int64)
        stops = starts + column.sizes.to_numpy().astype(np.int64)
    else:
        offsets = column.offsets.to_numpy().astype(np.int64)
        starts, stops = offsets[:-1], offsets[1:]
    stops = np.where(_valid(column), stops, starts)
    return starts, stops, None if pa.types.is_map(kind) else column.values


def _summed(hashes: U64, owners: AnyArray, count: int) -> U64:
    found = _zeros(count)
    np.add.at(found, owners, hashes)
    return found


def _tagged(tag: str, values: U64) -> U64:
    """Values of a kind in two lanes: u64[n] or u64[n, 2] to u64[n, 2]."""
    lanes = values if values.ndim == 2 else np.stack([values, values * _SECOND_LANE + _SECOND_LANE], axis=1)
    return mixed(lanes + _TAGS[tag])


def _taken(hashes: U64, indices: pa.Array) -> U64:
    """The hashes of a dictionary by its indices; 0 where there is none."""
    whole = np.concatenate((hashes, _zeros(1)))
    at = pc.fill_null(indices.cast(pa.int64()), len(hashes)).to_numpy(zero_copy_only=False)
    found: U64 = whole[at]
    return found


def _filled(column: pa.Array) -> AnyArray:
    values: AnyArray = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return values


def _counts(column: pa.Array) -> I64:
    kind = column.type
    is_narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    counts: I64 = _filled(column.view(pa.int32() if is_narrow else pa.int64())).astype(np.int64)
    return counts


def _valid(column: pa.Array) -> AnyArray:
    valid: AnyArray = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _zeros(count: int) -> U64:
    zeros: U64 = np.zeros((count, 2), np.uint64)
    return zeros
