"""Decisions once per distinct string or list: the dictionary codes that satisfy a condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.kernels import substring
from cdp_query.matching.matcher import Matcher
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, AnyArray, Bools
from cdp_store.columns.dictionary import as_arrow
from cdp_store.kernels import strings
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_FEW: Final = 2
_WORTH_GATHERING: Final = 16  # strings are copied if there are so many times as many
_WORTH_SEARCHING: Final = 128  # searching them all for bytes is faster than other tests


@dataclass(frozen=True, slots=True)
class Decided:
    """One bool per dictionary code, or, if only a few satisfy the condition, those codes.

    `read` counts the bytes of strings and lists that were read to decide.
    """

    table: Bools | None
    few: tuple[int, ...] = ()
    read: int = 0

    def is_empty(self) -> bool:
        """True if no value satisfies the condition."""
        return self.table is None and not self.few

    def mask(self, codes: AnyArray, base: int = 0) -> Bools:
        """Mask of the values base + codes[i] that satisfy the condition: bool[n]."""
        if self.table is not None:
            return self.table[base:][codes] if self.table.size else np.zeros(codes.shape[0], np.bool_)
        mask: Bools | None = None
        for code in self.few:
            if base <= code <= base + int(np.iinfo(codes.dtype).max):
                same = codes == code - base
                mask = same if mask is None else mask | same
        return np.zeros(codes.shape[0], np.bool_) if mask is None else mask


def decisions(
    view: PartitionView,
    key: int | None,
    matcher: Matcher,
    known: dict[Kind, Decided],
    stats: NodeStats,
    *,
    attribute: bool = False,
    asked: Callable[[Kind], I64] | None = None,
) -> Callable[[Kind], Decided]:
    """`decide_codes` by kind, each decided at its first use and then kept in `known`.

    `asked` gives the codes of a kind that have to be decided, if not all have to.
    """

    def decide(kind: Kind) -> Decided:
        if kind not in known:
            assert key is not None, "there are no values under a name nobody knows"
            if asked is None:
                known[kind] = decide_all(view, key, kind, matcher, stats, attribute=attribute)
            elif matcher.literals is not None:
                known[kind] = decide_codes(view, key, kind, matcher, attribute=attribute)
            else:
                known[kind] = _decide_few(view, key, kind, matcher, asked(kind), attribute=attribute)
                stats.bytes += known[kind].read
        return known[kind]

    return decide


def decide_all(
    view: PartitionView, key: int, kind: Kind, matcher: Matcher, stats: NodeStats, *, attribute: bool
) -> Decided:
    """`decide_codes`, counting what was read, and strings of which none is of the condition's type."""
    decided = decide_codes(view, key, kind, matcher, attribute=attribute)
    stats.bytes += decided.read
    if kind is Kind.STRING and decided.is_empty():
        stats.type_mismatch += _of_another_type(view, key, matcher, attribute=attribute)
    return decided


def decide_codes(view: PartitionView, key: int, kind: Kind, matcher: Matcher, *, attribute: bool) -> Decided:
    """Decides a matcher's positive condition for the distinct strings or lists of a property or attribute."""
    if kind is Kind.STRING and matcher.literals is not None:
        known = (view.string_code(key, literal, attribute=attribute) for literal in matcher.literals)
        codes = tuple(code for code in known if code is not None)
        if len(codes) <= _FEW:
            return Decided(None, codes)
        held: Bools = np.zeros(view.string_arena(key, attribute=attribute)[0].shape[0] - 1, np.bool_)
        held[list(codes)] = True
        return Decided(held)
    offsets, data = view.string_arena(key, attribute=attribute, is_list=kind is Kind.LIST)
    return _compact(_decide(matcher, kind, offsets, data), offsets.nbytes + data.nbytes)


def _of_another_type(view: PartitionView, key: int, matcher: Matcher, *, attribute: bool) -> int:
    """Number of distinct strings if none is of the condition's type, else 0."""
    if matcher.typed is None:
        return 0
    offsets, data = view.string_arena(key, attribute=attribute)
    typed = Matcher(text=matcher.typed).decide_strings(as_arrow(offsets, data))
    return 0 if typed.any() else typed.shape[0]


def _decide_few(view: PartitionView, key: int, kind: Kind, matcher: Matcher, codes: I64, *, attribute: bool) -> Decided:
    """Decides some codes only; the others count as not satisfying the condition."""
    offsets, data = view.string_arena(key, attribute=attribute, is_list=kind is Kind.LIST)
    codes = codes[codes < offsets.shape[0] - 1]  # rows without a value may hold anything
    factor = _WORTH_GATHERING if matcher.substring is None else _WORTH_SEARCHING
    if codes.shape[0] * factor > offsets.shape[0]:
        return decide_codes(view, key, kind, matcher, attribute=attribute)
    own, gathered = strings.gather(offsets, data, codes)
    table: Bools = np.zeros(offsets.shape[0] - 1, np.bool_)
    table[codes] = _decide(matcher, kind, own.astype(offsets.dtype), gathered)
    return _compact(table, gathered.nbytes + own.nbytes)


def _decide(matcher: Matcher, kind: Kind, offsets: AnyArray, data: U8) -> Bools:
    if kind is Kind.LIST:
        return matcher.decide_lists(offsets, data)
    if matcher.substring is not None:
        found: Bools = np.zeros(offsets.shape[0] - 1, np.bool_)
        substring.strings_containing(offsets, data, np.frombuffer(matcher.substring, np.uint8), found)
        return found
    return matcher.decide_strings(as_arrow(offsets, data))


def _compact(table: Bools, read: int) -> Decided:
    if np.count_nonzero(table) > _FEW:
        return Decided(table, (), read)
    return Decided(None, tuple(np.flatnonzero(table).tolist()), read)
