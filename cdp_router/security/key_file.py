"""The file of API keys: read again whenever it changes, replaced as a whole."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from cdp_router.security.keys import StoredKey
from cdp_store.errors import DirectoryDamaged
from cdp_store.sealed import read_whole, seal_json, unseal_json
from cdp_store.seams import OsFiles
from cdp_store.whole_files import write_durably

KEYS_NAME: Final = "keys.json"
KEYS_REMEDY: Final = (
    "restore it from a backup, or make a key with `cdp keys create`. To let everybody in without a key, say so with "
    "`cdp keys disable`"
)
_LOG = logging.getLogger(__name__)

Keys = Mapping[str, StoredKey]
Result = TypeVar("Result")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[StoredKey]


def read_keys(path: Path, mark: str = "") -> Keys:
    """All keys of a file, by id, in the order in which they were made; DirectoryDamaged where it cannot be used.

    `mark` is what a file of this cluster says of its owner, where the cluster is known.
    """
    return decode_keys(path, read_whole(path), mark)


def decode_keys(path: Path, data: bytes, mark: str = "") -> Keys:
    """All keys behind the bytes of a file."""
    return {key.id: key for key in unseal_json(path, data, _Stored, mark).value.keys}


def change_keys(path: Path, work: Callable[[Keys], tuple[Result, Keys]], mark: str = "") -> Result:
    """Replace the keys of a file, which need not be there yet, by what `work` makes of them; one change at a time."""
    with _alone(path):
        result, after = work(read_keys(path, mark) if path.exists() else {})
        write_durably(path, seal_json(_Stored(list(after.values())), mark, indent=1), OsFiles())
        return result


def seal_keys(path: Path, mark: str) -> None:
    """Give a file of an earlier version its checksum; DirectoryDamaged where it cannot be used."""
    if path.exists() and not unseal_json(path, read_whole(path), _Stored, mark).is_sealed:
        change_keys(path, lambda known: (None, known), mark)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class KeyFile:
    """The keys as a router sees them: those in the file now. Looking whether it has changed costs two microseconds.

    A file that has gone holds no keys. One that cannot be read leaves the keys as they were.
    """

    def __init__(self, path: Path, *, must_exist: bool = False, mark: str = "") -> None:
        self.path, self._seen, self._mark = path, _signature(path), mark
        self._keys: Keys | None = read_keys(path, mark) if must_exist or self._seen is not None else None

    def keys(self) -> Keys | None:
        """All keys, by id; None as long as there was no file: then none are asked for."""
        signature = _signature(self.path)
        if signature != self._seen:
            self._seen = signature
            self._keys = self._read_again() if signature is not None else {}
        return self._keys

    def _read_again(self) -> Keys:
        try:
            return read_keys(self.path, self._mark)
        except DirectoryDamaged as error:
            _LOG.error("%s; the keys stay as they were", error)
            return self._keys or {}


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
