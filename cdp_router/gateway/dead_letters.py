"""Records that could not be taken, kept with the reason until somebody looks: one directory per source.

`current.ndjson` takes new ones. To send them again it is first renamed; what is refused once more replaces that file in
one step. So a crash at any point leaves every letter in one of the files, and sending one twice changes nothing, since
each has its message id.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from cdp_router.gateway.letter_room import LetterRoom
from cdp_store.seams import OsFiles
from cdp_store.whole_files import write_durably

FOLDER: Final = "dead-letters"
_TELLING_CHARACTERS: Final = 6
_CURRENT: Final = "current.ndjson"
_NAME_CHARACTERS_MAX: Final = 120
_READ_BYTES: Final = 1 << 16


class DeadLetter(msgspec.Struct, frozen=True):
    """One line: what was sent, when and how, and why it was not taken."""

    source: str
    dialect: str
    received_ms: int
    sent_ms: int | None
    code: str
    message: str
    record: Any


_LETTER: Final = msgspec.json.Decoder(DeadLetter)


def encode_letter(letter: DeadLetter) -> bytes:
    """The line of a letter; texts that are no Unicode are written with escapes."""
    try:
        return msgspec.json.encode(letter) + b"\n"
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError, OverflowError):
        return json.dumps(msgspec.structs.asdict(letter)).encode() + b"\n"


def decode_letter(line: bytes) -> DeadLetter:
    """The letter of a line; ValueError where it is none."""
    try:
        return _LETTER.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(line), DeadLetter)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The letters of all sources below one directory; `room` bounds what they may take there."""

    path: Path
    room: LetterRoom | None = None

    def check_room(self, source: str) -> None:
        """LettersFull where a source may keep no more letters, however small."""
        if self.room is not None:
            self.room.check(self.path / directory_name(source), 0)

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters of one source durably; OSError where that fails, LettersFull where they are too many."""
        directory = self.path / directory_name(letters[0].source)
        lines = b"".join(map(encode_letter, letters))
        if self.room is not None:
            self.room.check(directory, len(lines))
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            for parent in (directory.parent, directory.parent.parent):
                _sync_directory(parent)
        while not _append(directory / _CURRENT, lines):
            pass  # it was just renamed: the next one is another file

    def sources(self) -> list[Path]:
        """The directories of sources that have letters."""
        if not self.path.exists():
            return []
        return sorted(each for each in self.path.iterdir() if each.is_dir() and any(each.glob("*.ndjson")))

    def letters(self, directory: Path) -> Iterator[DeadLetter]:
        """The letters of a source, oldest first."""
        for path in files_of(directory):
            yield from read_letters(path)

    def forget(self, identifiers: Collection[str]) -> int:
        """Remove the letters that name a person by any of these identifiers; how many there were."""
        forgotten = 0
        for directory in self.sources():
            with handling(directory):
                for path in files_of(directory):
                    _mend(path)  # what is left of a line may name the person too
                if not any(_names(letter.record, identifiers) for letter in self.letters(directory)):
                    continue
                for path in self.set_aside(directory):
                    letters = list(read_letters(path))
                    left = [letter for letter in letters if not _names(letter.record, identifiers)]
                    replace_letters(path, left)
                    forgotten += len(letters) - len(left)
        return forgotten

    def set_aside(self, directory: Path) -> list[Path]:
        """Files of a source that get no more letters, oldest first, with the current one among them."""
        current = directory / _CURRENT
        if current.exists():
            aside = directory / f"{time.time_ns():020d}.ndjson"
            current.rename(aside)
            _sync_directory(directory)
            _mend(aside)  # whoever was writing has finished
        return [path for path in files_of(directory) if path.name != _CURRENT]


@contextmanager
def handling(directory: Path) -> Iterator[None]:
    """Be the only one who sets files of a source aside and replaces them; new letters come in meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _names(record: Any, identifiers: Collection[str]) -> bool:
    """Whether a record names a person by one of the identifiers.

    Long ones count wherever they stand, also in a text that was no record; short ones, such as 7, would be found in
    anybody's properties, and count where identifiers stand.
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


def replace_letters(path: Path, letters: Iterable[DeadLetter]) -> None:
    """Leave only these letters in a file that was set aside; without any it is removed."""
    lines = b"".join(map(encode_letter, letters))
    if lines:
        write_durably(path, lines, OsFiles())
    else:
        path.unlink()
        _sync_directory(path.parent)


def files_of(directory: Path) -> list[Path]:
    """The files of a source, oldest first: names are times, and the current one sorts behind them."""
    return sorted(directory.glob("*.ndjson"))


def read_letters(path: Path) -> Iterator[DeadLetter]:
    """The letters of a file; a line that was torn by a crash was never acknowledged, and is passed over until cut."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield decode_letter(line)
            except ValueError:
                continue


def directory_name(source: str) -> str:
    """A name that is safe in any file system; no two sources share one."""
    quoted = urllib.parse.quote(source.encode(errors="surrogatepass"), safe="").replace(".", "%2E")
    if len(quoted) <= _NAME_CHARACTERS_MAX:
        return quoted
    return f"{quoted[:_NAME_CHARACTERS_MAX]}~{blake2b(quoted.encode(), digest_size=8).hexdigest()}"


def _append(path: Path, lines: bytes) -> bool:
    """Add whole lines; False where the file was renamed before they could be."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not _is_at(path, descriptor):
            return False
        start = _cut_torn_line(descriptor)
        try:
            _write_all(descriptor, lines)
        except OSError:
            os.ftruncate(descriptor, start)
            raise
        os.fsync(descriptor)
        if not start:
            _sync_directory(path.parent)
        return True
    finally:
        os.close(descriptor)


def _mend(path: Path) -> None:
    """Cut off what a crash left of a line; waits for whoever is writing."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = os.fstat(descriptor).st_size
        if _cut_torn_line(descriptor) < before:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> int:
    """Shorten a locked file to its last whole line; its size then. A line without an end was never acknowledged."""
    size = whole = os.fstat(descriptor).st_size
    while whole:
        begin = max(whole - _READ_BYTES, 0)
        end = os.pread(descriptor, whole - begin, begin).rfind(b"\n")
        if end >= 0:
            whole = begin + end + 1
            break
        whole = begin
    if whole < size:
        os.ftruncate(descriptor, whole)
    return whole


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _write_all(descriptor: int, lines: bytes) -> None:
    view = memoryview(lines)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
