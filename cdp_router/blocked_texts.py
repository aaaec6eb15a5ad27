"""Which of many texts name nobody, decided without an object for each."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_router.blocking import Blocked
from cdp_store.arrays import I64, U8, Bools
from cdp_store.records import Strings

_WORD_BYTES: Final = 16  # longer words are looked at one by one
_AT_ONCE: Final = 1 << 14
_LETTER_CASE: Final = np.uint8(0x20)
# An id that begins or ends with one of other bytes may be more than a word: it is looked at by itself.
_ORDINARY: Final = np.zeros(256, np.bool_)
_ORDINARY[[*b"123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"]] = True


def which_blocked(texts: Strings, blocked: Blocked, skipped: int = 0) -> Bools:
    """Which texts name nobody, the first `skipped` bytes of each left out: bool[n]."""
    found: Bools = np.zeros(len(texts), np.bool_)
    listed = _Listed(blocked)
    for first in range(0, len(texts), _AT_ONCE):
        last = min(first + _AT_ONCE, len(texts))
        starts = texts.offsets[first:last].astype(np.int64) + skipped
        sizes = texts.offsets[first + 1 : last + 1].astype(np.int64) - starts
        found[first:last], alone = listed.decided(starts, sizes, texts.data)
        for at in (np.flatnonzero(alone) + first).tolist():
            found[at] = blocked(texts[at][skipped:].decode())
    return found


class _Listed:
    """The listed words in a form that arrays are compared with."""

    def __init__(self, blocked: Blocked) -> None:
        values = [value.encode() for value in blocked.values]
        self._words = np.array(sorted(value for value in values if len(value) <= _WORD_BYTES), f"S{_WORD_BYTES}")
        self._other_sizes = np.array(sorted({len(value) for value in values if len(value) > _WORD_BYTES}), np.int64)
        self._is_wide = not all(value.isascii() for value in values)

    def decided(self, starts: I64, sizes: I64, data: U8) -> tuple[Bools, Bools]:
        """(which texts are listed words, which have to be looked at one by one), without an object per text."""
        if not data.size:
            return np.ones(sizes.shape[0], np.bool_), np.zeros(sizes.shape[0], np.bool_)
        places = np.arange(_WORD_BYTES)
        inside = places < sizes[:, None]
        heads = np.where(inside, data[np.minimum(starts[:, None] + places, data.size - 1)], np.uint8(0))
        is_upper = (heads >= ord("A")) & (heads <= ord("Z"))
        lower = np.ascontiguousarray(np.where(is_upper, heads | _LETTER_CASE, heads))
        is_word = np.isin(lower.view(f"S{_WORD_BYTES}")[:, 0], self._words) & (sizes <= _WORD_BYTES)
        is_hollow = (~inside | (heads == ord("0")) | (heads == ord("-"))).all(axis=1)
        ends = data[np.clip(starts + sizes - 1, 0, data.size - 1)]
        starts_oddly = ~_ORDINARY[heads[:, 0]] & (heads[:, 0] != ord("0"))
        ends_oddly = ~_ORDINARY[ends] & (ends != ord("0"))
        alone = is_hollow | starts_oddly | ends_oddly | np.isin(sizes, self._other_sizes)
        if self._is_wide:
            alone |= (heads >= 0x80).any(axis=1)
        return is_word, alone & ~is_word
