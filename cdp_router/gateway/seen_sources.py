"""Sources that recently sent records without API keys: the first key would lock them out, so its maker is warned.

A file in the data directory: {"format": 1, "seen_ms": {name: when last}}. It is a hint and is never relied on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.gateway.write_keys import Source, Sources
from cdp_store.outside.seams import Clock

_LOG = logging.getLogger(__name__)
NAME: Final = "sources-seen.json"
HOUR_MS: Final = 3_600_000
_FORMAT: Final = 1
_WRITTEN_EVERY_MS: Final = 30_000
_SOURCES_MAX: Final = 1000  # any text is a source's name while there are no keys


class _Seen(msgspec.Struct, frozen=True):
    seen_ms: dict[str, int]
    format: int = _FORMAT


def seen_lately(data: Path, now_ms: int) -> Mapping[str, int]:
    """Sources that sent anything during the last hour, and when last; none if the file is missing or damaged."""
    try:
        seen = msgspec.json.decode((data / NAME).read_bytes(), type=_Seen)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if seen.format != _FORMAT:
        return {}
    return {name: at for name, at in sorted(seen.seen_ms.items()) if now_ms - HOUR_MS <= at <= now_ms}


class SeenSources:
    """Knows sources like `inner`, and records the requested ones while there are no keys."""

    def __init__(self, inner: Sources, data: Path, clock: Clock, is_open: Callable[[], bool]) -> None:
        self._inner, self._path, self._clock, self._is_open = inner, data / NAME, clock, is_open
        self._seen_ms = dict(seen_lately(data, clock.now_ms()))
        self._written_ms, self._lock = 0, threading.Lock()

    def source_of(self, key: str, secret: str) -> Source:
        """The source of a key."""
        source = self._inner.source_of(key, secret)
        if self._is_open():
            self._note(source.name)
        return source

    def _note(self, name: str) -> None:
        now_ms = self._clock.now_ms()
        with self._lock:
            is_new = name not in self._seen_ms and len(self._seen_ms) < _SOURCES_MAX
            if is_new or name in self._seen_ms:
                self._seen_ms[name] = now_ms
            if not is_new and now_ms - self._written_ms < _WRITTEN_EVERY_MS:
                return
            self._written_ms = now_ms
            self._seen_ms = {each: at for each, at in self._seen_ms.items() if at > now_ms - HOUR_MS}
            self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(_Seen(self._seen_ms)))
            part.replace(self._path)
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self._path, error)
