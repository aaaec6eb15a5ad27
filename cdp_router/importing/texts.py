"""Files as lines of text in an encoding; bytes invalid in it are marked, so that they cost only their record."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from cdp_router.importing.source_errors import SourceInvalid

LINE_CHARACTERS_MAX: Final = 1 << 23  # JSON of a record of the maximum size
UTF8: Final = "utf-8"
_LINE_ENDS: Final = ("\n", "\r")
_MARK: Final = "cdp-mark"
_MARKED: Final = re.compile("[\ud800-\udfff]+")
_BYTES_SHOWN: Final = 4
_SNIFFED: Final = 4096
_NUL_SHARE: Final = 8  # if more than one byte in this many is NUL, the text has another encoding, or is not text
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Undecodable bytes as lone surrogates, which no decoded text holds."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARK, _mark)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file; `assumed` if it was guessed from the first bytes."""

    name: str
    assumed: bool = False


def known_encoding(name: str) -> str:
    """The usual name of a text encoding; LookupError for an unknown one."""
    found = codecs.lookup(name)
    if not getattr(found, "_is_text_encoding", True):
        raise LookupError(name)
    return UTF8 if found.name == "utf-8-sig" else found.name


def encoding_of(path: Path, given: str | None) -> Encoding:
    """The encoding of a file: the given one, or that of its byte order mark, or UTF-8.

    Raises SourceInvalid for a file that is obviously not UTF-8.
    """
    if given is not None:
        return Encoding(given)
    with path.open("rb") as file:
        beginning = file.read(_SNIFFED)
    for mark, name in _BYTE_ORDER_MARKS:
        if beginning.startswith(mark):
            return Encoding(name, assumed=name != UTF8)
    if beginning.count(0) * _NUL_SHARE > len(beginning):
        raise SourceInvalid(
            f"{path}: it holds NUL bytes, so it is not text in UTF-8; for UTF-16 give --encoding utf-16-le or utf-16-be"
        )
    return Encoding(UTF8)


def marked(text: str) -> str | None:
    """Problem of a text with undecodable bytes: the first of them; None if there are none."""
    if text.isascii() or (found := _MARKED.search(text)) is None:
        return None
    return " ".join(map(_shown, found.group()[:_BYTES_SHOWN]))


def _shown(mark: str) -> str:
    byte = ord(mark) - 0xDC00
    return f"0x{byte:02x}" if 0 <= byte <= 0xFF else f"U+{ord(mark):04X}"  # half a character, as UTF-7 may have


def undecodable(shown: str, encoding: str, where: str = "") -> str:
    """The message about bytes that are invalid in an encoding."""
    name = "UTF-8" if encoding == UTF8 else encoding
    hint = "; give --encoding, such as windows-1252, if the file has another one" if encoding == UTF8 else ""
    return f"{where}bytes that are not {name} ({shown}){hint}"


class TextFile:
    """An open file as text: lines and blocks of lines, each starting where the last one ended."""

    def __init__(self, file: BinaryIO, texts: TextIO) -> None:
        self._file, self._texts, self._begun = file, texts, False

    @property
    def done(self) -> int:
        """Bytes of the file that have been read."""
        return self._file.tell()

    def lines(self) -> Iterator[tuple[str | None, int]]:
        """Lines, each with its end, and the number of bytes read so far; None for a line that is too long."""
        for line in lines_in(self._texts):
            whole = line if line is None or self._begun else line.removeprefix("\ufeff")  # utf-16-le keeps it
            self._begun = True
            yield whole, self.done

    def block(self, characters: int) -> str:
        """This many characters, and more up to the end of a line with an even number of quotes before it, within
        limits.
        """
        parts = [self._texts.read(characters)]
        length, quotes, is_whole = len(parts[0]), parts[0].count('"'), parts[0].endswith("\n")
        while length < LINE_CHARACTERS_MAX and (quotes % 2 or not is_whole):
            if not (more := self._texts.readline(LINE_CHARACTERS_MAX)):
                break
            parts.append(more)
            length, quotes, is_whole = length + len(more), quotes + more.count('"'), more.endswith(_LINE_ENDS)
        while not is_whole and (more := self._texts.readline(LINE_CHARACTERS_MAX)):
            is_whole = more.endswith(_LINE_ENDS)  # the rest of a line that is already too long
        return "".join(parts)


def lines_in(texts: TextIO) -> Iterator[str | None]:
    """Lines of a text, each with its end; None for a line that is too long."""
    while line := texts.readline(LINE_CHARACTERS_MAX):
        whole: str | None = line
        while len(line) == LINE_CHARACTERS_MAX and not line.endswith(_LINE_ENDS):
            line, whole = texts.readline(LINE_CHARACTERS_MAX), None
        yield whole


@contextmanager
def opened(path: Path, encoding: str, newline: str) -> Iterator[TextFile]:
    """A file as text after its byte order mark.

    `newline` is that of `io.TextIOWrapper`: "" ends lines at every usual mark, and a line end is never changed. Raises
    SourceInvalid for a file whose beginning does not fit its encoding.
    """
    decoder = "utf-8-sig" if encoding == UTF8 else encoding
    with path.open("rb") as file, io.TextIOWrapper(file, decoder, _MARK, newline) as texts:
        try:
            yield TextFile(file, texts)
        except UnicodeError as error:
            raise SourceInvalid(
                f"{path}: no {encoding}: {error}; if a file has no byte order mark, give -le or -be, as in utf-16-le"
            ) from error


def text_lines(path: Path, encoding: str, newline: str) -> Iterator[tuple[str | None, int]]:
    """The lines of a file; see `opened` and `TextFile.lines`."""
    with opened(path, encoding, newline) as texts:
        yield from texts.lines()
