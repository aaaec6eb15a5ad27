"""The file of API keys: read again whenever it changes, replaced as a whole."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from cdp_router.security.keys.keys import StoredKey
from cdp_store.directory.inventory import ListedFile
from cdp_store.errors import DirectoryDamaged
from cdp_store.outside.locks import file_locked
from cdp_store.outside.sealed import Unsealed, read_whole, seal_json, unseal_json
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import write_durably

KEYS_NAME: Final = "keys.json"
KEYS_REMEDY: Final = (
    "restore it from a backup, or make a key with `cdp keys create`. To let everybody in without a key, run "
    "`cdp keys disable`"
)
KEYS_OUTDATED: Final = (
    "put the newest version in its place. To continue with this one, start with --salvage; keys that were revoked "
    "since are valid again then, so check `cdp keys list`"
)
_AGAIN_SECONDS: Final = 1.0
_LOG = logging.getLogger(__name__)

Keys = Mapping[str, StoredKey]
Result = TypeVar("Result")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[StoredKey]


def read_keys(path: Path, listed: ListedFile | None = None) -> Keys:
    """All keys of a file, by id, in the order of their creation; DirectoryDamaged if it cannot be used.

    Without `listed` it may be the file of any cluster, at any generation.
    """
    return listed.read(decode_keys) if listed is not None else decode_keys(path, read_whole(path)).value


def decode_keys(path: Path, data: bytes, owner: str = "") -> Unsealed[Keys]:
    """All keys in the bytes of a file."""
    found = unseal_json(path, data, _Stored, owner)
    return Unsealed({key.id: key for key in found.value.keys}, found.is_sealed, found.generation)


def change_keys(path: Path, work: Callable[[Keys], tuple[Result, Keys]], listed: ListedFile | None = None) -> Result:
    """Replaces the keys of a file, which may not exist yet, by the result of `work`; one change at a time."""
    with file_locked(path.with_suffix(".lock")):
        result, after = work(read_keys(path, listed) if path.exists() else {})
        stored = _Stored(list(after.values()))
        if listed is None:
            write_durably(path, seal_json(stored, indent=1), OsFiles())
        else:
            listed.replace(lambda number: seal_json(stored, listed.owner, number, indent=1), OsFiles())
        return result


def settle_keys(listed: ListedFile) -> None:
    """Gives a file of an earlier version its generation, and updates the list."""
    if listed.path.exists() and not listed.settle(OsFiles()):
        change_keys(listed.path, lambda known: (None, known), listed)


class KeyFile:
    """The keys in the file at this moment. Checking whether it changed costs two microseconds.

    A removed file holds no keys. A file that cannot be read leaves the keys unchanged, and is tried again each
    second: a passing failure (no file descriptor, say) must not keep a revoked key valid.
    """

    def __init__(
        self,
        path: Path,
        listed: ListedFile | None = None,
        *,
        must_exist: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` counts seconds."""
        self.path, self._name, self._listed = path, os.fspath(path), listed
        self._seen = _signature(self._name)
        self._clock, self._again_at = clock, math.inf
        self._keys: Keys | None = read_keys(path, listed) if must_exist or self._seen is not None else None

    def keys(self) -> Keys | None:
        """All keys, by id; None while there is no file: then no key is required."""
        signature = _signature(self._name)
        if signature != self._seen or self._clock() >= self._again_at:
            self._seen, self._again_at = signature, math.inf
            self._keys = self._read_again() if signature is not None else {}
        return self._keys

    def _read_again(self) -> Keys:
        try:
            return read_keys(self.path, self._listed)
        except DirectoryDamaged as error:
            _LOG.error("%s; the keys stay unchanged", error)
            self._again_at = self._clock() + _AGAIN_SECONDS
            return self._keys or {}


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, and this is done for every call
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
