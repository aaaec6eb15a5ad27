"""CSV files: rows with their lines, where a quote that is never closed costs its own line alone."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdp_router.importing.source_errors import SourceInvalid
from cdp_router.importing.texts import LINE_CHARACTERS_MAX, marked, text_lines, undecodable

_DELIMITERS: Final = (";", "\t", "|")
_SPAN_MIN: Final = 3  # lines of a quoted text that look like records, where no column of times tells more
_NEVER_CLOSED: Final = "unexpected end of data"

IsTime = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row: its last line, its fields or what is wrong with it, how many bytes of the file were read by then."""

    line: int
    fields: list[str] | None
    problem: str
    done: int


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first line: names of columns, and what separates them; `assumed` where the line told it."""

    names: tuple[str, ...]
    delimiter: str
    assumed: bool = False


class _TooLong(Exception):
    """A line longer than any record."""


class _Lines:
    """Lines for a CSV reader, which remembers those of the record at hand and can give them again."""

    def __init__(self, lines: Iterator[tuple[str | None, int]]) -> None:
        self._lines, self._again = lines, deque[tuple[str | None, int]]()
        self.pulled = list[tuple[str | None, int]]()
        self.number, self.done = 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        entry = self._again.popleft() if self._again else next(self._lines)
        self.pulled.append(entry)
        self.number += 1
        line, self.done = entry
        if line is None:
            raise _TooLong
        return line

    def begin(self) -> None:
        """The next line begins a record."""
        self.pulled.clear()

    def resume(self) -> int:
        """Go back behind the first line of the record at hand, whose number is returned."""
        again = self.pulled[1:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)
        return self.number

    @property
    def texts(self) -> list[str]:
        """The lines of the record at hand."""
        return [line or "" for line, _ in self.pulled]


def read_header(path: Path, encoding: str, delimiter: str | None) -> CsvHeader:
    """The header of a file; SourceInvalid where there is none that can be used."""
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
        raise SourceInvalid(f"{path}: no CSV: line 1: {error or 'the line is too long'}") from error
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


def read_rows(
    path: Path, encoding: str, header: CsvHeader, time: int | None, is_time: IsTime, trusted: bool = False
) -> Iterator[CsvRow]:
    """The rows behind the header. `time` is the number of the column of times, whose texts `is_time` knows.

    `trusted`: a program has quoted all fields, so that no line inside of one is a record, whatever it looks like.
    """
    lines = _Lines(text_lines(path, encoding, ""))
    is_records = _Spans(len(header.names), header.delimiter, time, is_time)
    csv.field_size_limit(LINE_CHARACTERS_MAX)
    reader, is_header = csv.reader(lines, delimiter=header.delimiter, strict=True), True
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            problem, behind = _problem(error, len(lines.pulled)), len(lines.pulled) - 1
            if trusted and behind:
                yield CsvRow(lines.resume(), None, f"{problem}; the {behind} lines behind it were not read", lines.done)
                return
            yield CsvRow(lines.resume(), None, problem, lines.done)
            reader = csv.reader(lines, delimiter=header.delimiter, strict=True)
            continue
        if is_header:
            is_header = False
        elif len(lines.pulled) > 1 and not trusted and is_records(lines.texts):
            first = lines.number - len(lines.pulled) + 1
            yield CsvRow(first, None, _swallowed(first, lines.number), lines.done)
        elif fields:
            yield CsvRow(lines.number, fields, "", lines.done)


def _problem(error: Exception, lines: int) -> str:
    if isinstance(error, _TooLong):
        return f"no CSV: the line has more than {LINE_CHARACTERS_MAX} characters"
    if str(error) == _NEVER_CLOSED:
        return "no CSV: a quote is opened and never closed"
    if lines > 1:
        return f"no CSV: a quote is opened that ends in a later line at no end of a field ({error})"
    return f"no CSV: {error}"


def _swallowed(first: int, last: int) -> str:
    return (
        f"no CSV: a quoted field goes on from line {first} to line {last}, and each of these lines looks like a record:"
        f" a quote is missing in line {first}, or too many"
    )


@dataclass(frozen=True, slots=True)
class _Spans:
    """True if lines that one quoted field holds together are records each, so that a quote must be wrong."""

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
