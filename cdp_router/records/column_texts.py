"""Texts of Arrow columns before they are read: the content of dictionaries, and texts that are not UTF-8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.errors import RecordInvalid, RequestInvalid
from cdp_router.records.column_checks import FIELD, Checks, bools_of, combined, is_list, is_string
from cdp_router.records.identity_columns import PREFIX
from cdp_store.arrays import I64, Bools
from cdp_store.ids import ANONYMOUS_ID, USER_ID
from cdp_store.kernels.utf8 import which_not_utf8
from cdp_store.records import rules

_OWN: Final = {"event": rules.EVENT_NAME, "message_id": rules.MESSAGE_ID}


@dataclass(frozen=True, slots=True)
class Readable:
    """Rows whose texts are UTF-8, the position of each in the stream, and the checks that rejected the others."""

    table: pa.Table
    positions: npt.NDArray[np.intp]
    rejected: Checks


def written_out_bytes(array: pa.Array) -> int:
    """Bytes of the texts that dictionaries in an array represent, written out for each value."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if not is_string(kind.value_type):
            return written_out_bytes(array.dictionary)
        lengths: I64 = pc.fill_null(pc.binary_length(array.dictionary), 0).to_numpy(zero_copy_only=False)
        codes = array.indices.drop_null().to_numpy(zero_copy_only=False)
        return int(lengths.astype(np.float64)[codes].sum()) if lengths.size else 0
    if is_list(kind):
        return written_out_bytes(array.flatten())
    if pa.types.is_struct(kind):
        return sum(written_out_bytes(array.field(number)) for number in range(kind.num_fields))
    return 0


def readable(table: pa.Table) -> Readable:
    """The table without rows that contain text that is not UTF-8; pa.ArrowInvalid for any other fault."""
    rejected = Checks(table.num_rows)
    try:
        table.validate(full=True)
        return Readable(table, np.arange(table.num_rows), rejected)
    except pa.ArrowInvalid:
        table.validate()
    table, columns = table.combine_chunks(), list[pa.Array]()
    for name in table.column_names:
        column = combined(table.column(name))
        as_bytes = _as_bytes(column)
        as_bytes.validate(full=True)
        rejected.reject(_bad_rows(as_bytes), _not_unicode(name))
        columns.append(_without_bad_entries(column, as_bytes))
    if rejected.keep.all():
        raise pa.ArrowInvalid("a text outside all rows is not UTF-8")
    cleaned = pa.table(columns, names=table.column_names).filter(pa.array(rejected.keep))
    cleaned.validate(full=True)
    return Readable(cleaned, np.flatnonzero(rejected.keep), rejected)


def _not_unicode(name: str) -> RecordInvalid:
    if name in (USER_ID, ANONYMOUS_ID) or name.startswith(PREFIX):
        return RecordInvalid.of(rules.IDENTIFIER.unicode, what=name.removeprefix(PREFIX))
    if name in _OWN:
        return RecordInvalid.of(_OWN[name].unicode, what=_OWN[name].what)
    return RecordInvalid.of(rules.STRING_UNICODE, name=name)


def _as_bytes(array: pa.Array) -> pa.Array:
    """The same with bytes instead of texts: reading them never fails, whatever they contain."""
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, _as_bytes(array.dictionary))
    return array.cast(_bytes_type(array.type))


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_bytes_type(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_bytes_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _bytes_type(field.type)) for field in kind])
    return kind


def _bad_rows(array: pa.Array) -> Bools:
    """Mask of values that hold bytes that are not UTF-8: bool[n]."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        codes = pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False)
        bad_entries = _bad_rows(array.dictionary)
        return (
            bad_entries[codes] & bools_of(array.indices.is_valid())
            if bad_entries.size
            else np.zeros(len(array), np.bool_)
        )
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _not_utf8(array.cast(pa.large_binary()))
    bad_of_all: Bools = np.zeros(len(array), np.bool_)
    if is_list(kind):
        if pa.types.is_dictionary(kind.value_type):
            raise RequestInvalid(FIELD, "a dictionary inside a list holds text that is not UTF-8")
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        bad_of_all[np.repeat(np.arange(len(array)), lengths)[_bad_rows(array.flatten())]] = True
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            bad_of_all |= _bad_rows(array.field(number))
    return bad_of_all


def _not_utf8(array: pa.Array) -> Bools:
    if not len(array):
        return np.zeros(0, np.bool_)
    _, offsets, data = array.buffers()
    # Kernels are compiled for writable arrays, and arrays from buffers are read-only.
    places = np.array(np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8))
    texts = np.array(np.frombuffer(b"" if data is None else data, np.uint8))
    bad: Bools = which_not_utf8(places, texts) & bools_of(array.is_valid())
    return bad


def _without_bad_entries(column: pa.Array, as_bytes: pa.Array) -> pa.Array:
    """A dictionary with null in place of entries that are not UTF-8; any other column unchanged."""
    if not pa.types.is_dictionary(column.type):
        return column
    bad = _bad_rows(as_bytes.dictionary)
    if not bad.any():
        return column
    if not is_string(column.type.value_type):
        raise RequestInvalid(FIELD, "a dictionary of lists holds text that is not UTF-8")
    entries = pc.if_else(pa.array(bad), pa.scalar(None, as_bytes.type.value_type), as_bytes.dictionary)
    return pa.DictionaryArray.from_arrays(column.indices, entries.cast(column.type.value_type))
