"""Values that are not identifiers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

# Values that programs send when they have no identifier: they identify nobody.
BLOCKED_DEFAULT: Final = (
    *("null", "nil", "none", "undefined", "nan", "infinity", "-infinity", "inf", "-inf"),
    *(
        "(null)",
        "<null>",
        "(none)",
        "<nil>",
        "n/a",
        "#n/a",
        "<na>",
        "\\n",
        "not set",
        "(not set)",
        "not_set",
        "{}",
        "[]",
    ),
    *("anonymous", "guest", "unknown", "not_authenticated", "true", "false", "-1", "0.0", "-1.0"),
    # A program that sends the name of the field instead of its content.
    *("id", "userid", "user_id", "user id", "distinctid", "distinct_id", "anonymousid", "anonymous_id", "email"),
    # The id of every emulator of a device, and of every device of some makers.
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "9774d56d682e549c", "02:00:00:00:00:00"),
)
BLOCKED_IDENTIFIERS: Final = "CDP_BLOCKED_IDENTIFIERS"
# Zeros and dashes; objects converted to text; templates that were not filled in.
_PATTERNS: Final = re.compile(
    r"[0-]*|\[object \w+\](\s*,\s*\[object \w+\])*|\{\{.*\}\}|\$\{.*\}|<%.*%>|%\{.*\}", re.IGNORECASE | re.DOTALL
)
_QUOTES: Final = "\"'`"
# First and last code point of invisible ranges: controls, spaces, format characters, fillers.
_INVISIBLE_RANGES: Final = (
    (0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD),
    (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2), (0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0x110BD, 0x110BD),
    (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE01EF),
)  # fmt: skip
AROUND: Final = _QUOTES + "".join(chr(code) for first, last in _INVISIBLE_RANGES for code in range(first, last + 1))


class Blocked:
    """The values that are not identifiers: invisible ones, zeros and dashes, texts of objects, templates, and a list.

    Case does not matter, nor do invisible characters or quotes around a value.
    """

    def __init__(self, values: Iterable[str] = BLOCKED_DEFAULT) -> None:
        self._values = frozenset(value.strip(AROUND).lower() for value in values)

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> Blocked:
        """Values that the environment lists, separated by commas, in place of the usual ones."""
        listed = environment.get(BLOCKED_IDENTIFIERS)
        return Blocked() if listed is None else Blocked(listed.split(","))

    def __call__(self, value: str) -> bool:
        """True if a value identifies nobody."""
        bare = value.strip(AROUND)
        return _PATTERNS.fullmatch(bare) is not None or bare.lower() in self._values

    @property
    def values(self) -> frozenset[str]:
        """The listed values, in lower case, without quotes and other surroundings."""
        return self._values
