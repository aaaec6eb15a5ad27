"""Converts columns of texts to encoded rows, column by column, if the result equals that of `to_row`.

Each different text of a column is read and encoded once. Anything that may be rejected is left to `to_row`, row by row;
so are whole files with maps, JSON or identifiers of other kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.cli.data.column_mapping import sure_instants
from cdp_router.cli.data.outgoing_rows import BATCH_BYTES, EncodedRows, array_head, content_order, map_head
from cdp_router.cli.data.row_mapping import ColumnMapping, Roles, RowRejected, roles_of, time_ms
from cdp_router.cli.data.sources import CsvColumns
from cdp_router.importing.csv_files import CsvBlock
from cdp_router.importing.numbers import BOOLEANS, FLOAT_DIGITS_MAX, WHOLE_MAX, Unkept, csv_value
from cdp_store.arrays import I64, Bools
from cdp_store.limits import TIME_MIN_MS

_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_COUNT: Final = "^[1-9][0-9]{8,17}$"
_INSTANT: Final = (
    "^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|\+00:00)?$"
)
_INSTANT_LENGTH: Final = len("2026-03-01T10:00:00")
_ROW_BYTES: Final = BATCH_BYTES // 2  # of a row that is left to `to_row`, since it may be too large
_DIGITS_SURE: Final = 18  # digits of integers that surely fit 64 bits
_MINUS, _POINT, _ZERO = b"-.0"
_BOOLEAN_STARTS: Final = list({ord(text[0]) for text in BOOLEANS})
_SAMPLE: Final = 1000  # rows that are sampled to decide whether a column repeats its texts
_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class TextRows:
    """The conversion of columns of texts to rows."""

    columns: CsvColumns
    mapping: ColumnMapping
    roles: Roles

    def encoded(self, block: CsvBlock) -> tuple[EncodedRows, Bools]:
        """The rows of a block, and those that must be converted one by one instead."""
        count = len(block.lines)
        rows = _BlockRows(self, block, np.zeros(count, np.bool_), np.zeros(count, np.int64))
        return rows.encoded(), rows.odd


def text_rows(columns: CsvColumns, mapping: ColumnMapping) -> TextRows | None:
    """The conversion of these columns to rows; None if only `to_row` can do it."""
    roles = roles_of(mapping, tuple(name for _, name, _ in columns.kept))
    nested = (*roles.nested, *roles.identifiers[:2], roles.times)
    if any(name is not None for name in nested) or roles.identifiers[2] or columns.is_ours or mapping.times:
        return None
    keeps_nulls = mapping.profiles and mapping.nulls == "unset"
    return None if keeps_nulls or mapping.as_text - columns.reading.as_text else TextRows(columns, mapping, roles)


@dataclass(frozen=True, slots=True)
class _Column:
    """The different texts of a column, and the text of each row; None if each row has its own."""

    texts: pa.Array
    at: npt.NDArray[np.int32] | None
    is_text: bool

    def spread(self, pieces: list[bytes]) -> list[bytes]:
        """The pieces by row, of pieces by text."""
        return pieces if self.at is None else list(map(pieces.__getitem__, self.at.tolist()))

    def having(self, texts: Bools) -> Bools:
        """Mask of the rows with one of these texts."""
        return texts if self.at is None else texts[self.at]


@dataclass(slots=True)
class _BlockRows:
    """The rows of a block, with a mask of odd ones, and the number of values of each."""

    plan: TextRows
    block: CsvBlock
    odd: Bools
    given: I64

    def encoded(self) -> EncodedRows:
        """The rows; odd ones may have any content."""
        roles, kept, count = self.plan.roles, self.plan.columns.kept, len(self.block.lines)
        for place in self.plan.columns.nameless:
            column = self._column(place, True)
            self._leave(column, _flags(pc.not_equal(column.texts, "")))
        columns = {name: self._column(place, is_text) for place, name, is_text in kept}
        users, devices, events, message_ids = (None if name is None else columns[name] for _, name in roles.texts)
        times = None if roles.time is None else columns[roles.time]
        head = [self._events(events), _texts(users, count), _texts(devices, count), self._times(times)]
        values = {name: self._values(name, columns[name]) for name in roles.rest}
        maps = list(map([map_head(items) for items in range(len(values) + 1)].__getitem__, self.given.tolist()))
        ordered = (values[name] for name in content_order(values))
        contents = _joined(*head, [array_head(1)] * count, maps, *ordered)
        ids = [b""] * count if message_ids is None else _texts(message_ids, count, empty=b"")
        if max(map(len, contents), default=0) + max(map(len, ids), default=0) > _ROW_BYTES:
            self.odd |= np.fromiter(map(len, map(add, contents, ids)), np.int64, count) > _ROW_BYTES
        fronts = [[array_head(6)] * count, *head]
        return EncodedRows(fronts, ids, [maps, *values.values()], contents, self.block.lines.tolist())

    def _column(self, place: int, is_text: bool) -> _Column:
        texts, at, missing = self.block.columns[place], None, self.plan.columns.reading.missing
        if pc.count_distinct(texts[:_SAMPLE]).as_py() < _SAMPLE // 2:
            encoded = texts.dictionary_encode()
            texts, at = encoded.dictionary, encoded.indices.to_numpy()
        if missing:
            texts = pc.if_else(pc.is_in(texts, pa.array(missing, texts.type)), "", texts)
        return _Column(texts, at, is_text)

    def _leave(self, column: _Column, texts: Bools) -> None:
        """Leaves the rows with one of these texts to `to_row`."""
        if texts.any():
            self.odd |= column.having(texts)

    def _events(self, column: _Column | None) -> list[bytes]:
        default = self.plan.mapping.event_name
        if column is None:
            self.odd[:] |= default is None and not self.plan.roles.has_attributes
            return [_encode(default)] * len(self.odd)
        if default is None and not self.plan.roles.has_attributes:
            self._leave(column, _flags(pc.equal(column.texts, "")))
        return column.spread([_encode(text or default) for text in column.texts.to_pylist()])

    def _times(self, column: _Column | None) -> list[bytes]:
        mapping = self.plan.mapping
        if column is None:
            self.odd[:] |= mapping.default_time_ms is None
            return [_encode(mapping.default_time_ms)] * len(self.odd)
        instants, known = _instants(column.texts, mapping.time_unit)
        for place in np.flatnonzero(~known).tolist():
            text = column.texts[place].as_py()
            try:
                instants[place] = time_ms(text if column.is_text else csv_value(text), mapping)
                known[place] = True
            except RowRejected:
                pass
        self._leave(column, ~known)
        return column.spread(list(map(_encode, instants.tolist())))

    def _values(self, name: str, column: _Column) -> list[bytes]:
        """The name and value of each row, nothing where its text is empty."""
        is_given = _flags(pc.not_equal(column.texts, ""))
        if column.is_text:
            values = column.texts.to_pylist()
        else:
            values, lost = _read(column.texts)
            self._leave(column, lost)
        self.given += column.having(is_given)
        pieces = list(map(_encode(name).__add__, map(_encode, values)))
        for place in np.flatnonzero(~is_given).tolist():
            pieces[place] = b""
        return column.spread(pieces)


def _joined(*parts: Any) -> list[bytes]:
    return list(map(b"".join, zip(*parts, strict=True)))


def _texts(column: _Column | None, count: int, empty: bytes = _encode("")) -> list[bytes]:
    if column is None:
        return [_encode(None)] * count
    pieces = list(map(_encode, column.texts.to_pylist()))
    return column.spread(pieces if empty else [b"" if piece == _encode("") else piece for piece in pieces])


def _read(texts: pa.Array) -> tuple[list[Any], Bools]:
    """Values that `csv_value` returns for all non-empty texts, and a mask of those that cannot be stored."""
    forms, lost = _forms(texts), np.zeros(len(texts), np.bool_)
    values = texts.to_numpy(zero_copy_only=False)
    values[forms.integers] = texts.filter(pa.array(forms.integers)).cast(pa.int64()).to_numpy().astype(object)
    floats = texts.filter(pa.array(forms.decimals)).cast(pa.float64()).to_numpy()
    values[forms.decimals] = floats.astype(object)
    others = forms.others
    others[np.flatnonzero(forms.decimals)[np.abs(floats) >= WHOLE_MAX]] = True
    for place in np.flatnonzero(others).tolist():
        value = csv_value(texts[place].as_py())
        lost[place] = isinstance(value, Unkept)
        values[place] = None if lost[place] else value
    return values.tolist(), lost


@dataclass(frozen=True, slots=True)
class _Forms:
    """Masks of texts: integers that surely fit 64 bits, decimals with an unambiguous nearest float64, and possible
    non-texts.
    """

    integers: Bools
    decimals: Bools
    others: Bools


def _forms(texts: pa.Array) -> _Forms:
    _, offsets, content = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    # Three more, so that bytes after the last text can be read.
    characters = np.concatenate((np.frombuffer(content or b"", np.uint8)[: bounds[-1]], np.zeros(3, np.uint8)))
    starts, ends = bounds[:-1], bounds[1:]
    is_digit, is_point = characters - _ZERO < 10, characters == _POINT
    digits, points = (np.concatenate(([0], np.cumsum(each, dtype=np.int32))) for each in (is_digit, is_point))
    digits, points = digits[ends] - digits[starts], points[ends] - points[starts]
    first = starts + (characters[starts] == _MINUS)
    is_zero, is_number = characters[first] == _ZERO, (ends > first) & is_digit[first]
    is_whole = is_number & (digits == ends - first)
    integers = is_whole & (digits <= _DIGITS_SURE) & (~is_zero | ((digits == 1) & (first == starts)))
    decimals = is_number & (points == 1) & (digits + 1 == ends - first) & is_digit[ends - 1]
    decimals &= (~is_zero | is_point[first + 1]) & (digits - is_zero <= FLOAT_DIGITS_MAX)
    others = is_number & ~integers & ~decimals
    others[others] = _flags(pc.match_substring_regex(texts.filter(pa.array(others)), _NUMBER))
    letters = np.isin(characters[starts], _BOOLEAN_STARTS) & (ends > starts)
    others[letters] = _flags(pc.is_in(texts.filter(pa.array(letters)), pa.array(list(BOOLEANS))))
    return _Forms(integers, decimals, others)


def _instants(texts: pa.Array, unit: str) -> tuple[I64, Bools]:
    """Epoch milliseconds of texts that are instants in the usual form or counts of unambiguous years, and a mask of
    these.
    """
    found = _all_instants(texts)
    if found is not None:
        return found, np.ones(len(texts), np.bool_)
    instants = np.zeros(len(texts), np.int64)
    known, is_instant = (_flags(pc.match_substring_regex(texts, form)).copy() for form in (_COUNT, _INSTANT))
    counts = texts.filter(pa.array(known)).cast(pa.int64()).to_numpy()
    instants[known], known[known] = sure_instants(counts, unit)
    plain = pc.replace_substring_regex(texts.filter(pa.array(is_instant)), r"(Z|\+00:00)$", "")
    if (found := _all_instants(plain)) is not None:
        instants[is_instant] = found
        known |= is_instant
    return instants, known


def _all_instants(texts: pa.Array) -> I64 | None:
    """Epoch milliseconds of texts if all are a date, or a time with seconds and Z or no zone; otherwise None."""
    plain = pc.utf8_rtrim(texts, "Z")
    length, beside = pc.binary_length(plain), pc.subtract(pc.binary_length(texts), pc.binary_length(plain))
    if (pc.min(length).as_py() or 0) < _INSTANT_LENGTH or pc.max(beside).as_py() > 1:
        return None
    try:
        instants: I64 = plain.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() // 1000
    except pa.ArrowInvalid:
        return None
    return None if instants.min() < TIME_MIN_MS else instants  # Arrow accepts a year 0


def _flags(column: pa.Array) -> Bools:
    flags: Bools = column.to_numpy(zero_copy_only=False)
    return flags
