"""Identifiers that may name nobody, found among the usual ones without an object for each."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U32, Bools
from cdp_store.kernels.jit import kernel, leaf

USUAL: Final = 0
LISTED: Final = 1
UNDECIDED: Final = 2
_UPPER_A, _UPPER_Z, _LETTER_CASE = ord("A"), ord("Z"), 0x20
_ZERO, _DASH = ord("0"), ord("-")
_CONTINUATION_MASK, _CONTINUATION = 0xC0, 0x80  # of the later bytes of a character in UTF-8


@leaf
def _is_word(data: U8, start: np.int64, word: U8) -> bool:
    """Tests whether the bytes from `start` on are the word, which is in lower case."""
    for i in range(word.shape[0]):
        byte = data[start + i]
        if _UPPER_A <= byte <= _UPPER_Z:
            byte |= np.uint8(_LETTER_CASE)
        if byte != word[i]:
            return False
    return True


@kernel
def classify_identifiers(
    offsets: U32,
    data: U8,
    skipped: int,
    words: U8,
    word_ends: I64,
    first_words: I64,
    edge: Bools,
    foreign: Bools,
    out: U8,
) -> None:
    """Classify each text data[offsets[i] + skipped:offsets[i + 1]]: LISTED, UNDECIDED or USUAL in out u8[n].

    `words` u8[], in lower case and ordered by size, end at word_ends i64[w]; those of s bytes have the numbers
    first_words[s]:first_words[s + 1], i64[s_max + 2]. UNDECIDED is a text whose first or last character begins with an
    `edge` byte bool[256], that has a `foreign` byte bool[256], or that has nothing but zeros and dashes.
    """
    for i in range(out.shape[0]):
        start, stop = np.int64(offsets[i]) + skipped, np.int64(offsets[i + 1])
        size = stop - start
        if size <= 0:
            out[i] = LISTED
            continue
        out[i] = USUAL
        if size < first_words.shape[0] - 1:
            for word in range(first_words[size], first_words[size + 1]):
                end = word_ends[word]
                if _is_word(data, start, words[end - size : end]):
                    out[i] = LISTED
                    break
            if out[i] == LISTED:
                continue
        # Back to the first byte of the last character, by which `edge` knows it.
        last = stop - 1
        while last > start and data[last] & _CONTINUATION_MASK == _CONTINUATION:
            last -= 1
        is_hollow, is_foreign = True, False
        for at in range(start, stop):
            # Such as 00000000-0000-0000-0000-000000000000, in any length.
            is_hollow &= data[at] == _ZERO or data[at] == _DASH
            is_foreign |= foreign[data[at]]
        if edge[data[start]] or edge[data[last]] or is_hollow or is_foreign:
            out[i] = UNDECIDED
