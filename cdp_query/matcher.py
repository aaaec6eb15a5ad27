"""What a condition becomes: per kind of value, which values satisfy it.

A condition is decided per kind; a value of another kind, or none, counts as missing. `negated` conditions
(`!=`, `not in`, `missing` ...) are the complement of their positive form, missing values included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any as Anything

import numpy as np
import pyarrow as pa

from cdp_query.ranges import Range
from cdp_query.windows import Interval
from cdp_store.arrays import I64, Bools
from cdp_store.values import Kind, to_ms, unpack_list

TextDecision = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which stored values satisfy a condition.

    numbers, times: any of these ranges; instants: decided on arrays of times i64; flags: these booleans; text: decided
    per distinct string (string or large_string in, boolean out); substring: what these strings have in them, where that
    is all that `text` asks; lists: decided per distinct list; everything: any value at all.
    """

    numbers: tuple[Range, ...] = ()
    times: tuple[Interval, ...] = ()
    flags: frozenset[bool] = frozenset()
    text: TextDecision | None = None
    lists: Callable[[list[Anything]], bool] | None = None
    everything: bool = False
    negated: bool = False
    literals: tuple[str, ...] | None = field(default=None, compare=False)
    instants: Callable[[I64], Bools] | None = None
    substring: bytes | None = None

    def decides(self, kind: Kind) -> bool:
        """Whether values of this kind are of the type asked for."""
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
        """Per distinct string, in code order, whether it satisfies the condition."""
        if self.text is None:
            return np.full(len(strings), self.everything, np.bool_)
        as_text = pa.string() if pa.types.is_binary(strings.type) else pa.large_string()
        parts = [self.text(chunk.view(as_text)).to_numpy(zero_copy_only=False) for chunk in strings.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def decide_lists(self, packed: pa.ChunkedArray) -> Bools:
        """Per distinct list, in code order, whether it satisfies the condition."""
        if self.lists is None:
            return np.full(len(packed), self.everything, np.bool_)
        return np.array([self.lists(unpack_list(item.as_py())) for item in packed], np.bool_)

    def holds(self, value: Anything) -> bool:
        """Whether one list item satisfies the positive condition."""
        match value:
            case bool():
                return value in self.flags
            case int() | float():
                return any(bounds.contains(value) for bounds in self.numbers)
            case datetime():
                return any(span.overlaps(to_ms(value), to_ms(value)) for span in self.times)
            case str() if self.literals is not None:
                return value in self.literals
            case str() if self.substring is not None:
                return self.substring in value.encode()
            case str() if self.text is not None:
                return bool(self.text(pa.array([value], pa.large_string()))[0].as_py())
        return False
