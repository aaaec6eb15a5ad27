"""Room for dead letters on a disk that logs may share: limits of one source, of all, and of the space left free.

Letters of one source also have a rate, because writing them competes with the work on valid records.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdp_router.security.keys.token_bucket import TokenBucket
from cdp_store.limits import MIB

OF_SOURCE: Final = "CDP_DEAD_LETTERS_SOURCE_MIB"
OF_ALL: Final = "CDP_DEAD_LETTERS_MIB"
FREE: Final = "CDP_DEAD_LETTERS_FREE_MIB"
_BLOCK_BYTES: Final = 4096  # the least that a file occupies
_SECONDS_AT_ONCE: Final = 8
_SOURCES_MAX: Final = 1000  # whose rates are known: any text is a source's name while there are no keys
_LOOK_SECONDS: Final = 1.0  # between scans of the whole directory; this process adds its own bytes meanwhile


class LettersFull(OSError):
    """The dead letters would exceed their room; nothing was written."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.ENOSPC, problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """Bytes of one source's letters, of all, and of the disk that are left to others."""

    of_source: int = 256 * MIB
    of_all: int = 1024 * MIB
    free: int = 512 * MIB
    per_second: int = 4 * MIB  # of one source's letters, and eight times as much at once

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> RoomLimits:
        """The limits, with those in MiB from the environment instead of the usual ones; ValueError for no number."""
        usual = RoomLimits()
        return RoomLimits(
            _mib(environment, OF_SOURCE, usual.of_source),
            _mib(environment, OF_ALL, usual.of_all),
            _mib(environment, FREE, usual.free),
        )


class LetterRoom:
    """Decides whether letters may be written below a directory; used from any thread."""

    def __init__(
        self,
        path: Path,
        limits: RoomLimits | None = None,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._limits = path, limits or RoomLimits()
        self._free_bytes, self._clock = free_bytes, clock
        self._looked_at, self._total = -_LOOK_SECONDS, 0
        self._held = Counter[str]()
        self._rates, self._lock = OrderedDict[str, TokenBucket](), threading.Lock()

    def hold(self, directory: Path, size: int) -> None:
        """Holds room for so many bytes of a source until `release`; called before a delivery.

        LettersFull if there is none, or letters of the source came too fast.
        """
        if self._rate(directory.name).wait_seconds():
            problem = f"dead letters of this source come faster than {self._limits.per_second} bytes a second"
            raise LettersFull(problem)
        with self._lock:
            self._check(directory, size, 0)
            self._held[directory.name] += size

    def release(self, directory: Path, size: int) -> None:
        """Releases room that was held."""
        with self._lock:
            self._held[directory.name] -= size
            if not self._held[directory.name]:
                del self._held[directory.name]

    def charge(self, directory: Path, size: int, held: int) -> None:
        """Counts bytes before they are written; LettersFull if those beyond the room held for them find none.

        The rate refuses nothing here: other records of the request may have been accepted by now.
        """
        if size > held:
            with self._lock:
                self._check(directory, size, held)
        self._total += size
        self._rate(directory.name).spend(size)

    def _check(self, directory: Path, size: int, own: int) -> None:
        """Raises LettersFull if so many bytes exceed the room left by others; `own` of the held bytes is for them."""
        of_source, of_all = self._held[directory.name] - own, sum(self._held.values()) - own
        if (taken := _taken(directory)) + of_source + size > self._limits.of_source:
            raise LettersFull(f"the dead letters of this source take {taken} of {self._limits.of_source} bytes")
        if (taken := self._of_all()) + of_all + size > self._limits.of_all:
            raise LettersFull(f"dead letters take {taken} of {self._limits.of_all} bytes")
        place = self._path if self._path.exists() else self._path.parent
        if (free := self._free_bytes(place)) - of_all - size < self._limits.free:
            raise LettersFull(f"the disk has {free} bytes left, and dead letters must leave {self._limits.free} free")

    def _rate(self, source: str) -> TokenBucket:
        with self._lock:
            found = self._rates.pop(source, None)
            if found is None:
                per_second = self._limits.per_second
                found = TokenBucket(per_second, _SECONDS_AT_ONCE * per_second, self._clock)
            self._rates[source] = found
            if len(self._rates) > _SOURCES_MAX:
                self._rates.popitem(last=False)
            return found

    def _of_all(self) -> int:
        now = self._clock()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            directories = [each for each in self._path.iterdir() if each.is_dir()] if self._path.exists() else []
            self._total = sum(map(_taken, directories))
        return self._total


def _taken(directory: Path) -> int:
    """Bytes of the files in a directory, and of the directory itself."""
    try:
        with os.scandir(directory) as entries:
            return _BLOCK_BYTES + sum(_size(entry) for entry in entries)
    except FileNotFoundError:
        return 0


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return max(_BLOCK_BYTES, entry.stat().st_size)
    except FileNotFoundError:  # set aside or redriven a moment ago
        return 0


def _mib(environment: Mapping[str, str], name: str, usual: int) -> int:
    given = environment.get(name)
    if given is None:
        return usual
    if not given.isdecimal():
        raise ValueError(f"{name} must be a number of MiB, not {given!r}")
    return int(given) * MIB
