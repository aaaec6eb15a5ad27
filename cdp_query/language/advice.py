"""One sentence for mistakes that people bring along from other languages."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"day": "d", "week": "w", "month": "mo", "year": "y", "hour": "h", "minute": "min", "second": "s"}
_WORDS: Final = ("AND", "OR", "NOT", "IN", "BETWEEN", "CONTAINS", "STARTS_WITH", "ENDS_WITH", "MATCHES", "HAS")
_SIGNS: Final = {
    "&": "write and",
    "|": "write or",
    "!": "write not before what must not hold, or != between two values",
    "'": 'write "..." instead',
    "%": "there is no remainder; the parts of the population are in bucket between 0 and 99",
    ";": "a question ends without a sign",
}

_OPTION_WITHOUT_COLON: Final = re.compile(r"[(,]\s*(last|within|before|after|from|to|ago|days_ago)\s*$")


def advice(text: str, position: int, token: str) -> str:
    """What to write instead of the unexpected token at a position; nothing where no such mistake is known."""
    before, last = text[:position], _last_word(text[:position])
    if token == "=" and before.endswith("="):
        return "use one = to compare"
    if before.endswith("<") and token == ">":
        return "write != for not equal"
    if token == "(" and last.casefold() == "in":
        return 'a list stands in brackets, as in plan in ["gold", "free"]'
    if token.casefold() == "is":
        return f"ask missing({last}) or exists({last})" if last else "ask missing(name) or exists(name)"
    if token in _WORDS or last in _WORDS:
        return f"write {(token if token in _WORDS else last).lower()} in small letters"
    unit = _UNITS.get(token.casefold().removesuffix("s"))
    if unit is not None and last.isdigit():
        return f"write {last}{unit} for {last} {token}"
    if token[:1].isdigit() and _OPTION_WITHOUT_COLON.search(before):
        return f"a colon stands behind {last}, as in {last}: {token}"
    return _SIGNS.get(token[:1], "")


def _last_word(before: str) -> str:
    found = re.search(r"(\w+)\s*$", before)
    return found.group(1) if found else ""
