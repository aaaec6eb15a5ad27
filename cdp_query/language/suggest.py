"""The nearest known word to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` known words that resemble `word`, best first, without regard to case."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=most, cutoff=0.6)
    return [by_folded[match] for match in close]


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest word, or nothing."""
    close = nearest(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else ""
