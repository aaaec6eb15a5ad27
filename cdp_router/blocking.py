"""Values that are no identifiers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

# Values that programs send for want of an identifier: they name nobody.
BLOCKED_DEFAULT: Final = ("null", "nil", "none", "undefined", "nan", "anonymous", "guest", "unknown", "-1")
BLOCKED_IDENTIFIERS: Final = "CDP_BLOCKED_IDENTIFIERS"
_ZEROS: Final = re.compile(r"[0-]*")


class Blocked:
    """The values that are no identifiers: empty ones, zeros and dashes, and a list without regard to case."""

    def __init__(self, values: Iterable[str] = BLOCKED_DEFAULT) -> None:
        self._values = frozenset(value.strip().lower() for value in values)

    @staticmethod
    def of(environment: Mapping[str, str] = os.environ) -> Blocked:
        """What the environment lists, separated by commas, instead of the usual values."""
        listed = environment.get(BLOCKED_IDENTIFIERS)
        return Blocked() if listed is None else Blocked(listed.split(","))

    def __call__(self, value: str) -> bool:
        """Whether a value names nobody."""
        return _ZEROS.fullmatch(value) is not None or value.lower() in self._values

    @property
    def values(self) -> list[str]:
        """The listed ones, in lower case."""
        return sorted(self._values)
