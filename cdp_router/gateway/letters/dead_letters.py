"""Rejected records, kept with the reason until an operator handles them: one directory per source.

`current.ndjson` receives new ones. To send them again it is first renamed; letters that are refused once more replace
that file in one step. So a crash at any point leaves every letter in one of the files, and sending one twice changes
nothing, because each has its message id. A line that cannot be read is never dropped: it goes to `unreadable.lines`
before its file is replaced.
"""

from __future__ import annotations

import logging
import os
import time
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Protocol

from cdp_router.gateway.letters.letter_lines import DeadLetter, decode_letter, encode_letter, read_lines
from cdp_router.gateway.letters.letter_room import LetterRoom
from cdp_router.gateway.letters.letter_sizes import (
    CURRENT,
    acknowledge,
    acknowledged,
    list_sizes,
    listed,
    lost,
    lost_of_current,
)
from cdp_store.directory.inventory import missing, record
from cdp_store.outside.line_log import LineLog
from cdp_store.outside.locks import file_locked, folder_locked
from cdp_store.outside.seams import DescriptorFile, OsFiles
from cdp_store.outside.whole_files import write_durably

__all__ = ["DeadLetter", "DeadLetters", "decode_letter", "encode_letter"]
FOLDER: Final = "dead-letters"
UNREADABLE: Final = "unreadable.lines"
_LOG = logging.getLogger(__name__)
_TELLING_CHARACTERS: Final = 6
_NAME_CHARACTERS_MAX: Final = 120
_APPENDING: Final = os.O_RDWR | os.O_APPEND


class Remembering(Protocol):
    """A data directory that keeps a list of files that must exist."""

    def remember(self, *names: str) -> None:
        """Lists files that must exist from now on."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The letters of all sources below one directory; `room` bounds their size."""

    path: Path
    root: Remembering | None = None
    room: LetterRoom | None = None

    def hold(self, source: str, size: int) -> None:
        """Holds room for bytes of a source's letters until `release`; LettersFull if there is none."""
        if self.room is not None:
            self.room.hold(self.path / directory_name(source), size)

    def release(self, source: str, size: int) -> None:
        """Releases room that was held."""
        if self.room is not None:
            self.room.release(self.path / directory_name(source), size)

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps letters of one source durably; OSError if that fails, LettersFull if they are too many."""
        self.append(letters[0].source, b"".join(map(encode_letter, letters)))

    def append(self, source: str, lines: bytes, held: int = 0) -> None:
        """Keeps encoded letters of one source likewise; room is held for `held` bytes of them."""
        directory = self.path / directory_name(source)
        if self.room is not None:
            self.room.charge(directory, len(lines), held)
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            for parent in (directory.parent, directory.parent.parent):
                _sync_directory(parent)
            record(self.path, "", OsFiles(), [directory.name])
            if self.root is not None:
                self.root.remember(self.path.name)
        while not _append(directory / CURRENT, lines):
            pass  # it was just renamed: the next one is another file

    def sources(self) -> list[Path]:
        """The directories of sources that have letters."""
        if not self.path.exists():
            return []
        return sorted(each for each in self.path.iterdir() if each.is_dir() and any(each.glob("*.ndjson")))

    def problems(self) -> list[str]:
        """Problems in words: missing files and unreadable lines; an empty list if there are none."""
        found = [f"{path} is missing, with the records in it" for path in missing(self.path, "")]
        for directory in sorted(each for each in self.path.glob("*") if each.is_dir()):
            found += lost(directory)
            bad = sum(letter is None for path in files_of(directory) for _, letter in read_lines(path))
            found += [f"{bad} lines of {directory} cannot be read; a redrive keeps them in {UNREADABLE}"] if bad else []
            aside = directory / UNREADABLE
            if aside.exists():
                count = len(aside.read_bytes().splitlines())
                found.append(f"{aside} keeps {count} lines that could not be read")
        return found

    def list_sources(self) -> None:
        """Lists the present directories of sources as required; OSError if the list cannot be written."""
        names = [each.name for each in self.path.glob("*") if each.is_dir()]
        if names:
            record(self.path, "", OsFiles(), names)

    def expect_what_is_there(self) -> list[str]:
        """Removes missing directories of sources from the list; returns their names."""
        gone = [path.name for path in missing(self.path, "")]
        if gone:
            record(self.path, "", OsFiles(), remove=gone)
        return gone

    def letters(self, directory: Path) -> Iterator[DeadLetter]:
        """The letters of a source, oldest first."""
        for path in files_of(directory):
            yield from read_letters(path)

    def forget(self, identifiers: Collection[str]) -> int:
        """Removes the letters that name a person by any of these identifiers; returns their number."""
        forgotten = 0
        for directory in self.sources():
            with folder_locked(directory):  # new letters arrive meanwhile
                for path in files_of(directory):
                    _mend(path)  # the remains of a line may name the person too
                if any(_is_about(*line, identifiers) for path in files_of(directory) for line in read_lines(path)):
                    for path in self.set_aside(directory):
                        forgotten += _forget_lines(path, identifiers)
        for aside in sorted(self.path.glob(f"*/{UNREADABLE}")):
            forgotten += _forget_unreadable(aside, identifiers)
        return forgotten

    def set_aside(self, directory: Path) -> list[Path]:
        """Files of a source that get no more letters, oldest first, including the current one."""
        if (directory / CURRENT).exists():
            aside = directory / f"{time.time_ns():020d}.ndjson"
            with file_locked(directory / CURRENT, _APPENDING) as descriptor:  # any writer has finished
                _lines_of(descriptor, acknowledged(directory))
                (directory / CURRENT).rename(aside)
                _sync_directory(directory)
                list_sizes(directory, {**listed(directory), aside.name: aside.stat().st_size})
                acknowledge(directory, 0)
        elif acknowledged(directory):
            acknowledge(directory, 0)  # the caller was informed that it is missing
        found = [path for path in files_of(directory) if path.name != CURRENT]
        list_sizes(directory, {path.name: path.stat().st_size for path in found})
        return found


def _names(record: Any, identifiers: Collection[str]) -> bool:
    """True if a record names a person by one of the identifiers.

    Long ones count anywhere, also in a text that was no record; short ones, such as 7, would be found in anybody's
    properties, and count only in places of identifiers.
    """
    long = {each for each in identifiers if len(each) >= _TELLING_CHARACTERS}
    if isinstance(record, str):
        return any(identifier in record for identifier in long)
    waiting = [("", record)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        elif str(value) in (identifiers if _ends_like_identifier(key) else long):
            return True
    return False


def _ends_like_identifier(key: object) -> bool:
    return str(key).lower().endswith(("id", "identity", "email", "alias"))


def replace_letters(path: Path, letters: Iterable[DeadLetter]) -> int:
    """Keeps only these letters in a file that was set aside; without any the file is removed.

    Lines that cannot be read are first copied to a separate file; returns their number.
    """
    unreadable = [line for line, letter in read_lines(path) if letter is None]
    if unreadable:
        _keep_unreadable(path.parent / UNREADABLE, unreadable)
    lines, sizes = b"".join(map(encode_letter, letters)), dict(listed(path.parent))
    sizes.pop(path.name, None)
    list_sizes(path.parent, sizes)
    if lines:
        write_durably(path, lines, OsFiles())
        list_sizes(path.parent, {**sizes, path.name: len(lines)})
    else:
        path.unlink()
        _sync_directory(path.parent)
    return len(unreadable)


def _keep_unreadable(aside: Path, lines: Sequence[bytes]) -> None:
    """Appends lines durably, except those already there: an interrupted redrive may be repeated."""
    known = set(aside.read_bytes().splitlines(keepends=True)) if aside.exists() else set()
    added = [line for line in lines if line not in known]
    if added:
        write_durably(aside, b"".join([aside.read_bytes() if known else b"", *added]), OsFiles())


def _forget_lines(path: Path, identifiers: Collection[str]) -> int:
    """Keeps only the lines of a file that was set aside that name none of these; returns the number removed."""
    lines = list(read_lines(path))
    kept = [(line, letter) for line, letter in lines if not _is_about(line, letter, identifiers)]
    unreadable = [line for line, letter in kept if letter is None]
    if unreadable:
        _keep_unreadable(path.parent / UNREADABLE, unreadable)
    sizes = {name: size for name, size in listed(path.parent).items() if name != path.name}
    list_sizes(path.parent, sizes)
    content = b"".join(encode_letter(letter) for _, letter in kept if letter is not None)
    if content:
        write_durably(path, content, OsFiles())
        list_sizes(path.parent, {**sizes, path.name: len(content)})
    else:
        path.unlink()
        _sync_directory(path.parent)
    return len(lines) - len(kept)


def _forget_unreadable(aside: Path, identifiers: Collection[str]) -> int:
    lines = aside.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not _is_about(line, None, identifiers)]
    if len(kept) < len(lines):
        write_durably(aside, b"".join(kept), OsFiles())
    return len(lines) - len(kept)


def _is_about(line: bytes, letter: DeadLetter | None, identifiers: Collection[str]) -> bool:
    """True if a line names a person; an unreadable one is searched as a text."""
    return _names(line.decode(errors="replace") if letter is None else letter.record, identifiers)


def files_of(directory: Path) -> list[Path]:
    """The files of a source, oldest first: names are times, and the current one sorts after them."""
    return sorted(directory.glob("*.ndjson"))


def read_letters(path: Path) -> Iterator[DeadLetter]:
    """The readable letters of a file; `DeadLetters.problems` reports other lines."""
    return (letter for _, letter in read_lines(path) if letter is not None)


def directory_name(source: str) -> str:
    """A name that is safe in any file system; no two sources share one."""
    quoted = urllib.parse.quote(source.encode(errors="surrogatepass"), safe="").replace(".", "%2E")
    if len(quoted) <= _NAME_CHARACTERS_MAX:
        return quoted
    return f"{quoted[:_NAME_CHARACTERS_MAX]}~{blake2b(quoted.encode(), digest_size=8).hexdigest()}"


def _append(path: Path, lines: bytes) -> bool:
    """Appends whole lines; False if the file was renamed first."""
    with file_locked(path, _APPENDING | os.O_CREAT) as descriptor:
        if not _is_at(path, descriptor):
            return False
        for problem in lost_of_current(path.parent):
            _LOG.error("%s", problem)
            _keep_unreadable(path.parent / UNREADABLE, [f"# {problem}\n".encode()])
        log = _lines_of(descriptor, acknowledged(path.parent))
        is_new = not log.size
        log.append(lines)
        log.sync()
        if is_new:
            _sync_directory(path.parent)
        acknowledge(path.parent, log.size, lines)
        return True


def _mend(path: Path) -> None:
    """Cuts off the remains of a line after a crash; waits for any writer."""
    wanted = acknowledged(path.parent) if path.name == CURRENT else listed(path.parent).get(path.name, 0)
    with file_locked(path, _APPENDING) as descriptor:
        log = _lines_of(descriptor, wanted)
        if log.was_mended:
            log.sync()


def _lines_of(descriptor: int, answered_for: int) -> LineLog:
    """The lines of a locked file, its last one whole."""
    return LineLog(DescriptorFile(descriptor), descriptor, answered_for)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
