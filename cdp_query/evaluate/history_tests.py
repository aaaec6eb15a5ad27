"""History predicates: was, changed, unchanged, value_at; vectorised over an attribute's changes.

Only values that are set satisfy a condition here; `missing` is the one condition that an unset value satisfies.
"""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bound_profiles import BoundChanged, BoundHistory, BoundUnchanged, BoundValueAt, BoundWas
from cdp_query.matching.decided import decisions
from cdp_query.matching.masks import values_mask
from cdp_query.matching.matcher import Matcher
from cdp_query.scan.attribute_history import Changes, changes_of
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, Bools
from cdp_store.limits import TIME_MAX_MS
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind, float_bits


def history_mask(view: PartitionView, node: BoundHistory, as_of_ms: int, stats: NodeStats) -> Bools:
    """Mask of the rows that satisfy the predicate: bool[row_count]."""
    until_ms = node.instant_ms if isinstance(node, BoundValueAt) else as_of_ms
    changes = changes_of(view, node.attribute, until_ms, stats)
    match node:
        case BoundWas():
            return _was(view, node, changes, stats)
        case BoundChanged():
            return _changed(view, node, changes, stats)
        case BoundUnchanged():
            return _unchanged(view, node, changes)
        case BoundValueAt():
            return _value_at(view, node, changes, stats)


def _was(view: PartitionView, node: BoundWas, changes: Changes, stats: NodeStats) -> Bools:
    window = node.interval
    if window.last_ms < window.first_ms:
        return np.zeros(view.row_count, np.bool_)
    ends: I64 = np.full(changes.rows.shape[0], TIME_MAX_MS + 1, np.int64)
    later = ~changes.last_of_row()
    ends[later] = changes.times[1:][later[:-1]]
    in_force = (changes.times <= window.last_ms) & (ends > window.first_ms)
    held = in_force & _satisfied(view, node.attribute, changes.kinds, changes.raws, node.matcher, stats)
    if not _wants_unset(node.matcher):
        return _rows_with(view, changes, held)
    # Before its first change an attribute is unset.
    set_before: Bools = np.zeros(view.row_count, np.bool_)
    firsts = changes.first_of_row() & (changes.times <= window.first_ms)
    set_before[changes.rows[firsts]] = True
    return ~set_before | _rows_with(view, changes, held)


def _changed(view: PartitionView, node: BoundChanged, changes: Changes, stats: NodeStats) -> Bools:
    kinds, raws = _values_before(changes)
    window = node.interval
    held = (changes.times >= window.first_ms) & (changes.times <= window.last_ms)
    held &= ~_same(kinds, raws, changes.kinds, changes.raws)
    if node.before is not None:
        held &= _satisfied(view, node.attribute, kinds, raws, node.before, stats)
    if node.after is not None:
        held &= _satisfied(view, node.attribute, changes.kinds, changes.raws, node.after, stats)
    return _rows_with(view, changes, held)


def _unchanged(view: PartitionView, node: BoundUnchanged, changes: Changes) -> Bools:
    kinds, raws = _values_before(changes)
    moved = (changes.times >= node.interval.first_ms) & ~_same(kinds, raws, changes.kinds, changes.raws)
    is_set = changes.last_of_row() & (changes.kinds != Kind.UNSET)
    return _rows_with(view, changes, is_set) & ~_rows_with(view, changes, moved)


def _value_at(view: PartitionView, node: BoundValueAt, changes: Changes, stats: NodeStats) -> Bools:
    last = changes.last_of_row()
    kinds: U8 = np.zeros(view.row_count, np.uint8)
    raws: I64 = np.zeros(view.row_count, np.int64)
    kinds[changes.rows[last]] = changes.kinds[last]
    raws[changes.rows[last]] = changes.raws[last]
    return _satisfied(view, node.attribute, kinds, raws, node.matcher, stats)


def _rows_with(view: PartitionView, changes: Changes, held: Bools) -> Bools:
    mask: Bools = np.zeros(view.row_count, np.bool_)
    mask[changes.rows[held]] = True
    return mask


def _values_before(changes: Changes) -> tuple[U8, I64]:
    """Kind and raw value that each change replaced; UNSET before a row's first."""
    kinds, raws = np.zeros_like(changes.kinds), np.zeros_like(changes.raws)
    kinds[1:], raws[1:] = changes.kinds[:-1], changes.raws[:-1]
    first = changes.first_of_row()
    kinds[first] = raws[first] = 0
    return kinds, raws


def _same(kinds: U8, raws: I64, other_kinds: U8, other_raws: I64) -> Bools:
    """Mask of the places with equal values, int and float compared exactly: bool[n]."""
    same: Bools = (kinds == other_kinds) & ((raws == other_raws) | (kinds == Kind.UNSET))
    floats = (kinds == Kind.FLOAT) & (other_kinds == Kind.FLOAT)
    same[floats] = float_bits(raws[floats]) == float_bits(other_raws[floats])
    for left, left_raws, right, right_raws in (
        (kinds, raws, other_kinds, other_raws),
        (other_kinds, other_raws, kinds, raws),
    ):
        mixed = (left == Kind.INT) & (right == Kind.FLOAT)
        same[mixed] = _equal_exactly(left_raws[mixed], right_raws[mixed])
    return same


def _equal_exactly(integers: I64, bits: I64) -> Bools:
    floats = float_bits(bits)
    whole = (floats >= -(2.0**63)) & (floats < 2.0**63) & (np.floor(floats) == floats)
    equal: Bools = whole & (np.where(whole, floats, 0.0).astype(np.int64) == integers)
    return equal


def _wants_unset(matcher: Matcher) -> bool:
    return matcher.everything and matcher.negated


def _satisfied(
    view: PartitionView, attribute: int | None, kinds: U8, raws: I64, matcher: Matcher, stats: NodeStats
) -> Bools:
    """Mask of the values that satisfy the matcher: bool[n]; a negated one holds only for the type of its literal."""
    codes = decisions(view, attribute, matcher, {}, stats, attribute=True)
    held: Bools = kinds == Kind.UNSET if _wants_unset(matcher) else np.zeros(kinds.shape[0], np.bool_)
    for number in np.flatnonzero(np.bincount(kinds)):
        kind = Kind(int(number))
        chosen = np.flatnonzero(kinds == kind)
        if kind is Kind.UNSET:
            continue
        if not matcher.decides(kind):
            stats.type_mismatch += chosen.size
            continue
        values = float_bits(raws[chosen]) if kind is Kind.FLOAT else raws[chosen]
        held[chosen] = values_mask(kind, values, matcher, codes) != matcher.negated
        if kind is Kind.STRING and matcher.negated and matcher.typed is not None:
            # A text that is no time is of another type than the literal.
            of_type = Matcher(text=matcher.typed)
            times = decisions(view, attribute, of_type, {}, stats, attribute=True)
            held[chosen] &= values_mask(kind, values, of_type, times)
    return held
