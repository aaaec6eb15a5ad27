"""The files of one router's audit: a folder with numbered files, and one that records their end.

The file `head` holds number and hash of the last line, so that lines missing at the end are noticed. An anchor in
another folder holds the same under a secret of the cluster, so that removing a head together with its lines is found.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.errors import AuditFailed
from cdp_router.security.audit.audit_lines import NO_HASH, Entry, from_line, to_line
from cdp_store.limits import MIB
from cdp_store.outside.line_log import LineLog
from cdp_store.outside.locks import try_file_lock
from cdp_store.outside.seams import Files

FOLDER: Final = "audit"
_LOG = logging.getLogger(__name__)
FILE_BYTES_MAX: Final = 64 * MIB
_WRITERS_MAX: Final = 64  # routers of one data directory
ANCHORS: Final = "anchors"
_SEAL_BYTES: Final = 16
_ANCHOR: Final = re.compile(rb"(\d{20}) ([0-9a-f]{64}) ([0-9a-f]{32})\n")
_HEAD: Final = re.compile(rb"(\d{20}) ([0-9a-f]{64})\n")
_TAIL_BYTES: Final = MIB  # longer than any line


@dataclass(frozen=True, slots=True)
class Lock:
    """A folder that nobody else writes to; the lock ends with the process, if not before."""

    folder: Path
    descriptor: int

    def release(self) -> None:
        """Releases the folder."""
        os.close(self.descriptor)


def claim_folder(root: Path) -> Lock:
    """A folder below `root` that no other router writes to."""
    for number in range(_WRITERS_MAX):
        folder = root / (f"router-{number}" if number else "router")
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = try_file_lock(folder / "lock")
        if descriptor is not None:
            return Lock(folder, descriptor)
    raise AuditFailed(f"{_WRITERS_MAX} routers write below {root} already")


def files_of(folder: Path) -> list[Path]:
    """The files of a folder in their order."""
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdecimal())


def read_head(folder: Path) -> tuple[int, str]:
    """Number and hash of the last written line; (0, zeros) if they are unknown."""
    path = folder / "head"
    found = _HEAD.fullmatch(path.read_bytes()) if path.exists() else None
    return (int(found[1]), found[2].decode()) if found else (0, NO_HASH)


def anchor_path(folder: Path) -> Path:
    """Path of the anchor of a router's folder."""
    return folder.parent / ANCHORS / folder.name


def read_anchor(folder: Path, secret: bytes) -> tuple[int, str] | None:
    """Number and hash of the last line according to the anchor, None without one; AuditFailed if it was changed."""
    path = anchor_path(folder)
    if not path.exists():
        return None
    data = path.read_bytes()
    if not data:
        return 0, NO_HASH  # a crash happened before its first line
    found = _ANCHOR.fullmatch(data)
    if found is None or not hmac.compare_digest(found[3].decode(), _sealed(int(found[1]), found[2].decode(), secret)):
        raise AuditFailed(f"{path} was changed: it is no anchor that a router of this cluster wrote")
    return int(found[1]), found[2].decode()


def _sealed(number: int, digest: str, secret: bytes) -> str:
    return hashlib.blake2b(f"anchor {number} {digest}".encode(), digest_size=_SEAL_BYTES, key=secret).hexdigest()


class AuditFiles:
    """Appends lines; one thread at a time."""

    def __init__(self, folder: Path, secret: bytes, files: Files, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._folder, self._secret, self._files, self._bytes_max = folder, secret, files, file_bytes_max
        known = files_of(folder)
        self._path = known[-1] if known else folder / "000001.jsonl"
        self._log = self._open()
        head = folder / "head"
        if not head.exists():
            head.touch(0o600)
        self._head = files.open_update(head)
        # If lines are missing at the end, numbers continue after them, so that they stay missing.
        anchored = self._read_anchor()
        self._last = max(read_head(folder), _last_of(self._path), anchored, key=lambda last: last[0])
        anchor_path(folder).parent.mkdir(exist_ok=True)
        anchor_path(folder).touch(0o600)
        self._anchor = files.open_update(anchor_path(folder))

    def append(self, entry: Entry) -> None:
        """Writes an entry after the last one, and numbers it; AuditFailed if that is impossible."""
        number, before = self._last[0] + 1, self._last[1]
        line, digest = to_line(msgspec.structs.replace(entry, number=number, before=before), self._secret)
        try:
            if self._log.size + len(line) > self._bytes_max and self._log.size:
                self._next_file()
            self._log.append(line)
            self._last = number, digest
            self._head.write_at(0, f"{number:020d} {digest}\n".encode())
            if self._keeps_anchor:
                seal = _sealed(number, digest, self._secret)
                self._anchor.write_at(0, f"{number:020d} {digest} {seal}\n".encode())
        except OSError as error:
            raise AuditFailed(f"the audit cannot be written: {error}") from error

    def _read_anchor(self) -> tuple[int, str]:
        """Content of the anchor. A changed one is kept, so that the check finds it."""
        self._keeps_anchor = True
        try:
            return read_anchor(self._folder, self._secret) or (0, NO_HASH)
        except AuditFailed as error:
            _LOG.error("%s", error)
            self._keeps_anchor = False
            return 0, NO_HASH

    def sync(self) -> None:
        """Makes everything written durable; runs in a thread of its own, while others append."""
        log = self._log
        try:
            log.sync()
            self._anchor.sync()
        except OSError as error:
            if log is not self._log:
                return  # closed meanwhile, and synced before, because the next file was begun
            raise AuditFailed(f"the audit cannot be written: {error}") from error

    def close(self) -> None:
        """Closes the files."""
        self._log.close()
        self._head.close()
        self._anchor.close()

    def _next_file(self) -> None:
        self._log.sync()
        self._log.close()
        self._path = self._folder / f"{int(self._path.stem) + 1:06d}.jsonl"
        self._log = self._open()

    def _open(self) -> LineLog:
        file = self._files.open_append(self._path)
        with self._path.open("rb") as reading:
            log = LineLog(file, reading.fileno())
        self._files.sync_directory(self._folder)
        return log


def _last_of(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.readlines()
    last = from_line(lines[-1]) if lines else None
    return (last.entry.number, last.hash) if last is not None else (0, NO_HASH)
