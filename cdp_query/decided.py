"""Strings and lists decided once per distinct value: which dictionary codes satisfy a condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.kernels import substring
from cdp_query.matcher import Matcher
from cdp_store.arrays import AnyArray, Bools
from cdp_store.values import Kind
from cdp_store.view import PartitionView

_FEW: Final = 2


@dataclass(frozen=True, slots=True)
class Decided:
    """One bool per dictionary code, or, where only a few satisfy the condition, those codes."""

    table: Bools | None
    few: tuple[int, ...] = ()

    def mask(self, codes: AnyArray, base: int = 0) -> Bools:
        """Which of the values, base + codes[i], satisfy the condition: bool[n]."""
        if self.table is not None:
            return self.table[base:][codes] if self.table.size else np.zeros(codes.shape[0], np.bool_)
        mask: Bools | None = None
        for code in self.few:
            if base <= code <= base + int(np.iinfo(codes.dtype).max):
                same = codes == code - base
                mask = same if mask is None else mask | same
        return np.zeros(codes.shape[0], np.bool_) if mask is None else mask


def decisions(
    view: PartitionView, key: int | None, matcher: Matcher, known: dict[Kind, Decided], *, attribute: bool = False
) -> Callable[[Kind], Decided]:
    """`decide_codes` by kind, each decided when it is first asked for and then kept in `known`."""

    def decide(kind: Kind) -> Decided:
        if kind not in known:
            assert key is not None, "there are no values under a name nobody knows"
            known[kind] = decide_codes(view, key, kind, matcher, attribute=attribute)
        return known[kind]

    return decide


def decide_codes(view: PartitionView, key: int, kind: Kind, matcher: Matcher, *, attribute: bool) -> Decided:
    """What a matcher's positive condition says of the strings or lists of a property or attribute."""
    if kind is Kind.LIST:
        return _compact(matcher.decide_lists(*view.string_arena(key, attribute=attribute, is_list=True)))
    if matcher.literals is not None:
        known = (view.string_code(key, literal, attribute=attribute) for literal in matcher.literals)
        codes = tuple(code for code in known if code is not None)
        if len(codes) <= _FEW:
            return Decided(None, codes)
        held: Bools = np.zeros(view.string_arena(key, attribute=attribute)[0].shape[0] - 1, np.bool_)
        held[list(codes)] = True
        return Decided(held)
    if matcher.substring is not None:
        offsets, data = view.string_arena(key, attribute=attribute)
        table: Bools = np.zeros(offsets.shape[0] - 1, np.bool_)
        substring.strings_containing(offsets, data, np.frombuffer(matcher.substring, np.uint8), table)
        return Decided(table)
    return _compact(matcher.decide_strings(view.strings(key, attribute=attribute)))


def _compact(table: Bools) -> Decided:
    if np.count_nonzero(table) > _FEW:
        return Decided(table)
    return Decided(None, tuple(np.flatnonzero(table).tolist()))
