"""Notices for the log, at most once a minute per key."""

from __future__ import annotations

from typing import Final

_EVERY_MS: Final = 60_000
_KEYS_MAX: Final = 256  # beyond, the oldest is forgotten: senders choose the keys


class Notices:
    """Decides for each key once a minute that a notice is due; holds a bounded number of keys."""

    def __init__(self, every_ms: int = _EVERY_MS, keys_max: int = _KEYS_MAX) -> None:
        self._every_ms, self._keys_max = every_ms, keys_max
        self._told_ms = dict[str, int]()

    def is_due(self, key: str, now_ms: int) -> bool:
        """True if a minute has passed since it was last true of this key."""
        told_ms = self._told_ms.get(key)
        if told_ms is not None and now_ms - told_ms < self._every_ms:
            return False
        self._told_ms.pop(key, None)
        while len(self._told_ms) >= self._keys_max:
            del self._told_ms[next(iter(self._told_ms))]
        self._told_ms[key] = now_ms
        return True
