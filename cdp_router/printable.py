"""Texts of users where people read them: no character ends a line, turns the writing or controls a terminal."""

from __future__ import annotations

import re
from typing import Final

# What a terminal or an eye could take for something else than a character: controls, marks that turn the direction of
# writing, separators of lines, and halves of surrogate pairs, which cannot be written at all.
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def count_of(number: int, one: str, many: str = "") -> str:
    """A number with its noun, in the singular for 1: "1 event", "2,000 events"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def visible(text: str, *, lines: bool = False) -> str:
    """A text whose control characters are written as JSON escapes, so that JSON stays what it is; `lines` leaves the
    ends of lines."""
    return _CONTROLS.sub(lambda found: "\n" if lines and found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)
