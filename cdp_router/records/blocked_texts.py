"""Texts that identify nobody, found in tables of texts without an object for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from cdp_router.records.blocklist import AROUND, Blocked
from cdp_store.arrays import I64, U8, Bools
from cdp_store.kernels.names_nobody import LISTED, UNDECIDED, classify_identifiers
from cdp_store.records.records import Strings

# Only a text that begins or ends with one of these may be more than a word: it is checked on its own.
_TEMPLATE_STARTS: Final = "[{$<%"
_EDGE: Final = np.zeros(256, np.bool_)
_EDGE[sorted({character.encode()[0] for character in AROUND + _TEMPLATE_STARTS})] = True
_KELVIN_SIGN: Final = "\N{KELVIN SIGN}"  # the only letter outside ASCII whose lower case is a letter of ASCII


def which_blocked(texts: Strings, blocked: Blocked, skipped: int = 0) -> Bools:
    """Mask of the texts that identify nobody, without the first `skipped` bytes of each: bool[n]."""
    classes: U8 = np.empty(len(texts), np.uint8)
    words, word_ends, first_words, foreign = _listed(blocked.values)
    classify_identifiers(texts.offsets, texts.data, skipped, words, word_ends, first_words, _EDGE, foreign, classes)
    found: Bools = classes == LISTED
    decided = dict[bytes, bool]()  # a dictionary of Arrow may repeat one text for every record
    for at in np.flatnonzero(classes == UNDECIDED).tolist():
        text = texts[at][skipped:]
        if text not in decided:
            decided[text] = blocked(text.decode())
        found[at] = decided[text]
    return found


@lru_cache(maxsize=8)
def _listed(values: frozenset[str]) -> tuple[U8, I64, I64, Bools]:
    """The listed words and the bytes that other letters may represent, in the form for `classify_identifiers`."""
    words = sorted((value.encode() for value in values), key=len)
    sizes = np.array([len(word) for word in words], np.int64)
    first_words: I64 = np.searchsorted(sizes, np.arange(max(map(len, words), default=0) + 2)).astype(np.int64)
    foreign: Bools = np.zeros(256, np.bool_)
    foreign[_KELVIN_SIGN.encode()[0]] = True
    foreign[0x80:] |= not all(word.isascii() for word in words)
    return np.frombuffer(b"".join(words), np.uint8), np.cumsum(sizes), first_words, foreign
