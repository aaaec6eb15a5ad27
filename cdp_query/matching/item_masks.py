"""Matchers applied to the items of lists and their fields: packed values in, one bool each out."""

from __future__ import annotations

import numpy as np

from cdp_query.matching.decided import Decided
from cdp_query.matching.masks import values_mask
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.packed_lists import PackedLists, PackedValues
from cdp_store.arrays import I64, AnyArray, Bools
from cdp_store.values import Kind, float_bits

_PLAIN = (Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.TIME)


def values_holding(values: PackedValues, matcher: Matcher) -> Bools:
    """Mask of the values that satisfy the positive condition: bool[n]; False if there is no value."""
    if matcher.everything:
        given: Bools = values.kinds != Kind.UNSET
        return given
    mask: Bools = np.zeros(len(values), np.bool_)
    for kind in _PLAIN:
        where = _of_kind(values, kind) if matcher.decides(kind) else None
        if where is not None and where.size:
            raws = values.raws[where]
            plain: AnyArray = float_bits(raws) if kind is Kind.FLOAT else raws
            mask[where] = values_mask(kind, plain, matcher, _no_codes)
    if matcher.text is not None:
        where = _of_kind(values, Kind.STRING)
        if where.size:
            mask[where] = _strings_holding(values, where, matcher)
    if matcher.lists is not None:
        where = _of_kind(values, Kind.LIST)
        if where.size:
            mask[where] = matcher.lists(PackedLists(values.data, values.starts[where]))
    return mask


def any_item_holds(lists: PackedLists, matcher: Matcher) -> Bools:
    """Mask of the lists with an item, itself no list, that satisfies the positive condition: bool[n]."""
    owners, items = lists.items()
    return lists.any_item(owners, values_holding(items, matcher))


def _of_kind(values: PackedValues, kind: Kind) -> I64:
    return np.flatnonzero(values.kinds == kind).astype(np.int64, copy=False)


def _strings_holding(values: PackedValues, where: I64, matcher: Matcher) -> Bools:
    assert matcher.text is not None
    if matcher.literals is None:
        mask: Bools = matcher.text(values.strings(where)).to_numpy(zero_copy_only=False)
        return mask
    return values.are_any_of(where, matcher.literals)


def _no_codes(kind: Kind) -> Decided:
    raise AssertionError(f"{kind.name} is not decided by codes here")
