"""The nearest known word to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_MEANT: Final = 0.65  # minimum similarity, between 0 and 1


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` known words that resemble `word`, best first, without regard to case."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=most, cutoff=0.6)
    return [by_folded[match] for match in close]


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest word, or nothing if none is similar enough."""
    close = [each for each in nearest(word, known, 1) if _is_meant(word, each)]
    return f"did you mean {close[0]!r}?" if close else ""


def _is_meant(word: str, known: str) -> bool:
    """Tests whether a word may be a typing error: parts and extensions of it are other words."""
    resemblance = difflib.SequenceMatcher(None, known.casefold(), word.casefold()).ratio()
    return resemblance > _MEANT and abs(len(word) - len(known)) <= max(1, len(word) // 3)
