"""CSV files as blocks of columns of text, with the line of each row.

A block in which every quote is in a valid place is read by Arrow. Any other is read line by line, so that an unclosed
quote costs only its own line; later blocks are read by Arrow again.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from cdp_router.importing.source_errors import SourceInvalid
from cdp_router.importing.texts import LINE_CHARACTERS_MAX, TextFile, lines_in, marked, opened, text_lines, undecodable
from cdp_store.arrays import I64, U8

_DELIMITERS: Final = (";", "\t", "|")
_SPAN_MIN: Final = 3  # lines of a quoted text that look like records, if no column of times decides it
_NEVER_CLOSED: Final = "unexpected end of data"

_BLOCK_CHARACTERS: Final = 1 << 22  # smaller blocks cost more per row, larger ones only memory
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'

IsTime = Callable[[str], bool]
Lines = Iterator[tuple[str | None, int]]


@dataclass(frozen=True, slots=True)
class CsvFault:
    """A line or row that is not a record: its line, its problem, and whether its bytes are not text."""

    line: int
    problem: str
    is_undecodable: bool = False


@dataclass(frozen=True, slots=True)
class CsvBlock:
    """Rows as columns of text: the last line of each, and the faults between them.

    Also the number of bytes read so far, and whether nothing after them can be read.
    """

    columns: list[pa.Array]
    lines: I64
    faults: list[CsvFault]
    done: int = 0
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first line: names of columns, and their separator; `assumed` if the separator was guessed from the line."""

    names: tuple[str, ...]
    delimiter: str
    assumed: bool = False


class _TooLong(Exception):
    """A line longer than any record."""


class _Lines:
    """Lines for a CSV reader, which keeps those of the current record and can return them again."""

    def __init__(self, lines: Lines, number: int = 0) -> None:
        self._lines, self._again = lines, deque[tuple[str | None, int]]()
        self.pulled = list[tuple[str | None, int]]()
        self.number = number

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        entry = self._again.popleft() if self._again else next(self._lines)
        self.pulled.append(entry)
        self.number += 1
        line, _ = entry
        if line is None:
            raise _TooLong
        return line

    def begin(self) -> None:
        """Notes that the next line begins a record."""
        self.pulled.clear()

    def resume(self) -> int:
        """Goes back to after the first line of the current record, and returns that line's number."""
        again = self.pulled[1:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)
        return self.number

    def are_done(self, number: int) -> bool:
        """True if all lines up to this number are read, and none after it waits to be returned again."""
        return self.number >= number and not self._again

    @property
    def texts(self) -> list[str]:
        """The lines of the current record."""
        return [line or "" for line, _ in self.pulled]


def read_header(path: Path, encoding: str, delimiter: str | None) -> CsvHeader:
    """The header of a file; SourceInvalid if there is no usable one."""
    lines = _Lines(text_lines(path, encoding, ""))
    csv.field_size_limit(LINE_CHARACTERS_MAX)
    try:
        names = next(csv.reader(lines, delimiter=delimiter or ",", strict=True), None)
        if names is None:
            raise SourceInvalid(f"{path}: the file is empty; a CSV file starts with a line of column names")
        assumed = _separator(names[0]) if delimiter is None and len(names) == 1 else None
        if assumed is not None:
            names = next(csv.reader(lines.texts, delimiter=assumed, strict=True))
    except (csv.Error, _TooLong) as error:
        raise SourceInvalid(f"{path}: not CSV: line 1: {error or 'the line is too long'}") from error
    if shown := marked("".join(names)):
        raise SourceInvalid(f"{path}: {undecodable(shown, encoding, 'line 1, the names of columns, holds ')}")
    if any("\0" in name for name in names):
        raise SourceInvalid(f"{path}: line 1, the names of columns, holds NUL bytes")
    named = [name for name in names if name]
    if len(set(named)) != len(named):
        raise SourceInvalid(f"{path}: two columns have one name")
    if not named:
        raise SourceInvalid(f"{path}: line 1 holds no names of columns")
    return CsvHeader(tuple(names), assumed or delimiter or ",", assumed is not None)


def _separator(header: str) -> str | None:
    found = max(_DELIMITERS, key=header.count)
    return found if found in header else None


def read_blocks(
    path: Path, encoding: str, header: CsvHeader, time: int | None, is_time: IsTime, trusted: bool = False
) -> Iterator[CsvBlock]:
    """The rows after the header. `time` is the number of the column of times, whose texts `is_time` recognises.

    `trusted`: a program quoted all fields, so no line inside a field is a record, whatever it looks like.
    """
    csv.field_size_limit(LINE_CHARACTERS_MAX)
    are_records = None if trusted else _Spans(len(header.names), header.delimiter, time, is_time)
    blocks = _Blocks(header, encoding, are_records)
    with opened(path, encoding, "") as texts:
        yield from blocks.read(texts)


class _Blocks:
    """Reader of the blocks of a file; `are_records` is None where quoted lines cannot be records."""

    def __init__(self, header: CsvHeader, encoding: str, are_records: _Spans | None) -> None:
        self._header, self._encoding, self._are_records = header, encoding, are_records
        self._number = 0  # of the last line read

    def read(self, texts: TextFile) -> Iterator[CsvBlock]:
        """The blocks after the header, which exists and can be read."""
        lines = _Lines(texts.lines())
        next(self._reader(lines))
        self._number = lines.number
        while text := texts.block(_BLOCK_CHARACTERS):
            block = self._plain(text) or self._careful(text, texts)
            yield replace(block, done=texts.done)
            if block.is_last:
                return

    def _reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._header.delimiter, strict=True)

    def _plain(self, text: str) -> CsvBlock | None:
        """The rows of a block as Arrow reads it; None where its result would differ from that of `_careful`."""
        if len(text) >= LINE_CHARACTERS_MAX or not self._header.delimiter.isascii():
            return None
        if text.startswith("\ufeff"):  # Arrow removes it as a byte order mark
            return None
        if "\r" in text and text.count("\r") != text.count("\r\n"):
            return None
        try:
            encoded = text.encode()
        except UnicodeEncodeError:  # bytes that are not text
            return None
        layout = _layout(np.frombuffer(encoded, np.uint8), ord(self._header.delimiter))
        if layout is None or (self._are_records and any(map(self._are_records, layout.spans(encoded)))):
            return None
        ragged = list[tuple[int, int]]()

        def skip(row: pc.InvalidRow) -> str:
            ragged.append((row.number - 1, row.actual_columns))
            return "skip"

        columns = self._columns(encoded, layout, skip)
        lines = layout.lines + self._number
        faults = [self._ragged(int(lines[at]), found) for at, found in ragged]
        self._number += layout.line_count
        return CsvBlock(columns, np.delete(lines, [at for at, _ in ragged]), faults)

    def _columns(self, encoded: bytes, layout: _Layout, skip: Callable[[pc.InvalidRow], str]) -> list[pa.Array]:
        names = [str(number) for number in range(len(self._header.names))]
        if not layout.lines.size:
            return [pa.array([], pa.string()) for _ in names]
        table = pc.read_csv(
            pa.py_buffer(encoded),
            pc.ReadOptions(use_threads=False, block_size=len(encoded) + 1, column_names=names),
            pc.ParseOptions(
                delimiter=self._header.delimiter, newlines_in_values=layout.has_spans, invalid_row_handler=skip
            ),
            pc.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(names, pa.string())),
        )
        return [column.combine_chunks() for column in table.columns]

    def _careful(self, text: str, texts: TextFile) -> CsvBlock:
        """The rows of a block line by line, and of later lines those that an open quote reaches."""
        own = [(line, 0) for line in lines_in(io.StringIO(text, newline=""))]
        lines, end = _Lines(chain(own, texts.lines()), self._number), self._number + len(own)
        reader = self._reader(lines)
        rows, places, faults, is_last = list[list[str]](), list[int](), list[CsvFault](), False
        while not (is_last or lines.are_done(end)):
            lines.begin()
            try:
                fields = next(reader)
            except StopIteration:
                break
            except (csv.Error, _TooLong) as error:
                problem, behind = _problem(error, len(lines.pulled)), len(lines.pulled) - 1
                if self._are_records is None and behind:
                    problem, is_last = f"{problem}; the {behind} lines after it were not read", True
                faults.append(CsvFault(lines.resume(), problem))
                reader = self._reader(lines)
                continue
            if fault := self._fault(fields, lines):
                faults.append(fault)
            elif fields:
                rows.append(fields)
                places.append(lines.number)
        self._number = lines.number
        fields_by_column = zip(*rows, strict=True) if rows else [()] * len(self._header.names)
        columns = [pa.array(column, pa.string()) for column in fields_by_column]
        return CsvBlock(columns, np.array(places, np.int64), faults, is_last=is_last)

    def _fault(self, fields: list[str], lines: _Lines) -> CsvFault | None:
        if len(lines.pulled) > 1 and self._are_records and self._are_records(lines.texts):
            first = lines.number - len(lines.pulled) + 1
            return CsvFault(first, _swallowed(first, lines.number))
        if fields and len(fields) != len(self._header.names):
            return self._ragged(lines.number, len(fields))
        if not marked("".join(fields)):
            return None
        name, shown = next(
            (name, shown) for name, field in zip(self._header.names, fields, strict=True) if (shown := marked(field))
        )
        problem = undecodable(shown, self._encoding, f"column {name!r} holds ")
        return CsvFault(lines.number, problem, is_undecodable=True)

    def _ragged(self, line: int, found: int) -> CsvFault:
        return CsvFault(line, f"{found} fields where the header has {len(self._header.names)}")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bounds of the non-empty rows of a block: i64[n] each; its number of lines."""

    starts: I64
    ends: I64
    first_lines: I64
    lines: I64  # the last line of each row, the first of the block being 1
    line_count: int

    @property
    def has_spans(self) -> bool:
        """True if any row has several lines."""
        return bool((self.lines != self.first_lines).any())

    def spans(self, encoded: bytes) -> Iterator[list[str]]:
        """The lines of each row that has several."""
        for at in np.flatnonzero(self.lines != self.first_lines):
            text = encoded[self.starts[at] : self.ends[at]].decode()
            yield list(io.StringIO(text, newline=""))


def _layout(content: U8, delimiter: int) -> _Layout | None:
    """The rows of a block; None where a quote is inside a field or after it, or is never closed."""
    ends: I64 = np.flatnonzero(content == _NEWLINE) + 1
    if not content.size or content[-1] != _NEWLINE:
        ends = np.append(ends, content.size)
    numbers = np.arange(1, ends.size + 1)
    quotes = np.flatnonzero(content == _QUOTE)
    if quotes.size:
        if quotes.size % 2 or not _is_strict(content, quotes, delimiter):
            return None
        is_end = np.searchsorted(quotes, ends) % 2 == 0
        ends, numbers = ends[is_end], numbers[is_end]
    starts = np.concatenate(([0], ends[:-1]))
    first_lines = np.concatenate(([0], numbers[:-1])) + 1
    lengths = ends - starts
    is_empty = (lengths == 1) & (content[starts] == _NEWLINE)
    is_empty |= (lengths == 2) & (content[starts] == _RETURN)
    kept = ~is_empty
    return _Layout(starts[kept], ends[kept], first_lines[kept], numbers[kept], int(numbers[-1]))


def _is_strict(content: U8, quotes: I64, delimiter: int) -> bool:
    """True if every quote opens a field, closes one, or is one of two inside a field."""
    opening, closing = quotes[::2], quotes[1::2]
    before, after = content[opening - 1], content[np.minimum(closing + 1, content.size - 1)]
    doubled = opening[1:] == closing[:-1] + 1
    opens = (before == delimiter) | (before == _NEWLINE) | (opening == 0)
    opens[1:] |= doubled
    closes = (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | (closing == content.size - 1)
    closes[:-1] |= doubled
    return bool(opens.all() and closes.all())


def _problem(error: Exception, lines: int) -> str:
    if isinstance(error, _TooLong):
        return f"not CSV: the line has more than {LINE_CHARACTERS_MAX} characters"
    if str(error) == _NEVER_CLOSED:
        return "not CSV: a quote is opened and never closed"
    if lines > 1:
        return f"not CSV: a quote is closed in a later line, but not at the end of a field ({error})"
    return f"not CSV: {error}"


def _swallowed(first: int, last: int) -> str:
    return (
        f"not CSV: a quoted field extends from line {first} to line {last}, and each line of it looks like a record:"
        f" a quote is missing in line {first}, or too many"
    )


@dataclass(frozen=True, slots=True)
class _Spans:
    """True if the lines inside one quoted field are records themselves, so that a quote must be wrong."""

    columns: int
    delimiter: str
    time: int | None
    is_time: IsTime

    def __call__(self, lines: Sequence[str]) -> bool:
        if self.columns == 1 or (self.time is None and len(lines) < _SPAN_MIN):
            return False
        return all(map(self._is_record, lines))

    def _is_record(self, line: str) -> bool:
        text = line.rstrip("\r\n")
        return any(map(self._fits, (text.split(self.delimiter), self._quoted(text))))

    def _quoted(self, text: str) -> list[str]:
        return next(csv.reader([text], delimiter=self.delimiter), [])

    def _fits(self, fields: Sequence[str]) -> bool:
        if len(fields) != self.columns:
            return False
        return self.time is None or self.is_time(fields[self.time].strip('"'))
