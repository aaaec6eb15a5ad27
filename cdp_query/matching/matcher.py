"""A condition in executable form: for each kind of value, the test that its values must pass.

A condition is decided per kind; a value of another kind, or none, counts as missing. `negated` conditions
(`!=`, `not in`, `missing` ...) are the complement of their positive form, missing values included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from cdp_query.calendar.windows import Interval
from cdp_query.matching.packed_lists import PackedLists
from cdp_query.matching.ranges import Range
from cdp_store.arrays import I64, U8, AnyArray, Bools
from cdp_store.values import Kind

TextDecision = Callable[[pa.Array], pa.Array]
_LISTS_AT_ONCE: Final = 1 << 16  # some hundred bytes of positions each while they are decided


@dataclass(frozen=True, slots=True)
class Matcher:
    """Tests of stored values, by kind.

    numbers, times: any of these ranges; instants: decided on arrays of times i64; flags: these booleans; text: decided
    per distinct string (string or large_string in, boolean out); substring: contained in the strings that pass, if that
    is all that `text` tests; typed: selects the strings of the condition's type, if not all are; lists: decided on
    distinct lists; everything: any value at all; described: what compiled kernels are told about these.
    """

    numbers: tuple[Range, ...] = ()
    times: tuple[Interval, ...] = ()
    flags: frozenset[bool] = frozenset()
    text: TextDecision | None = None
    lists: Callable[[PackedLists], Bools] | None = None
    everything: bool = False
    negated: bool = False
    literals: tuple[str, ...] | None = field(default=None, compare=False)
    instants: Callable[[I64], Bools] | None = None
    substring: bytes | None = None
    typed: TextDecision | None = field(default=None, compare=False)
    described: dict[str, object] = field(init=False, default_factory=dict, compare=False, repr=False)

    def decides(self, kind: Kind) -> bool:
        """Tests whether values of this kind are of the condition's type."""
        match kind:
            case Kind.INT | Kind.FLOAT:
                return self.everything or bool(self.numbers)
            case Kind.TIME:
                return self.everything or bool(self.times) or self.instants is not None
            case Kind.BOOL:
                return self.everything or bool(self.flags)
            case Kind.STRING:
                return self.everything or self.text is not None
            case Kind.LIST:
                return self.everything or self.lists is not None
        return False

    def decide_strings(self, strings: pa.ChunkedArray) -> Bools:
        """Mask of the distinct strings, in code order, that satisfy the condition."""
        if self.text is None:
            return np.full(len(strings), self.everything, np.bool_)
        as_text = pa.string() if pa.types.is_binary(strings.type) else pa.large_string()
        parts = [self.text(chunk.view(as_text)).to_numpy(zero_copy_only=False) for chunk in strings.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def decide_lists(self, offsets: AnyArray, data: U8) -> Bools:
        """Mask of the distinct lists, in code order, that satisfy the condition; msgpack, offsets [n + 1]."""
        count = offsets.shape[0] - 1
        if self.lists is None:
            return np.full(count, self.everything, np.bool_)
        starts = offsets[:-1].astype(np.int64)
        parts = [
            self.lists(PackedLists(data, starts[first : first + _LISTS_AT_ONCE]))
            for first in range(0, count, _LISTS_AT_ONCE)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.bool_), *parts])
