"""Values that are no identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from cdp_store.arrays import Bools

if TYPE_CHECKING:
    from cdp_store.records import Strings

# Values that programs send for want of an identifier: they name nobody.
BLOCKED_DEFAULT: Final = ("null", "nil", "none", "undefined", "nan", "anonymous", "guest", "unknown", "-1")
_ZEROS: Final = re.compile(r"[0-]*")


class Blocked:
    """The values that are no identifiers: empty ones, zeros and dashes, and a list without regard to case."""

    def __init__(self, values: Iterable[str] = BLOCKED_DEFAULT) -> None:
        self._values = frozenset(value.strip().lower() for value in values)
        self._sizes = np.array(sorted({len(value.encode()) for value in self._values}), np.int64)

    def __call__(self, value: str) -> bool:
        """Whether a value names nobody."""
        return _ZEROS.fullmatch(value) is not None or value.lower() in self._values

    @property
    def values(self) -> list[str]:
        """The listed ones, in lower case."""
        return sorted(self._values)

    def any_of(self, identities: Strings) -> bool:
        """Whether any of some encoded identifiers has such a value."""
        starts = identities.offsets[:-1].astype(np.int64) + 1
        sizes = np.diff(identities.offsets).astype(np.int64) - 1
        first = identities.data[np.minimum(starts, max(identities.data.shape[0] - 1, 0))] if len(identities) else starts
        suspect: Bools = np.isin(sizes, self._sizes) | (first == ord("0")) | (first == ord("-")) | (sizes == 0)
        return any(self(identities[int(at)][1:].decode()) for at in np.flatnonzero(suspect))
