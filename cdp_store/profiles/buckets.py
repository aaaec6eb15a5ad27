"""Buckets of profiles: a keyed hash of the identifier modulo a fixed number, for random parts of all users."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_store.arrays import I64, U16
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.columns.growable import Growable
from cdp_store.limits import BUCKETS
from cdp_store.records.records import Strings

_ENTRIES_AT_ONCE: Final = 1 << 20  # their bytes together stay far below what u32 offsets reach
_LOW_HALF: Final = np.uint64(0xFFFF_FFFF)  # the upper half chooses the partition


class BucketNumbers:
    """The bucket of each identifier of an arena, computed once per identifier."""

    def __init__(self, key: HashKey) -> None:
        self._key = key
        self._numbers = Growable(np.uint16)

    def refresh(self, identifiers: StringArena) -> U16:
        """Bucket by entry, 0 to BUCKETS - 1; arrays returned before do not change."""
        for start in range(self._numbers.count, len(identifiers), _ENTRIES_AT_ONCE):
            stop = min(start + _ENTRIES_AT_ONCE, len(identifiers))
            entries: I64 = np.arange(start, stop, dtype=np.int64)
            offsets, data = identifiers.gather(entries)
            hashes = hash_strings(self._key, Strings(offsets.astype(np.uint32), data))
            self._numbers.extend((hashes & _LOW_HALF) % np.uint64(BUCKETS))
        return self._numbers.filled()

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return self._numbers.nbytes
