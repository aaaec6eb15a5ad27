"""Conditions on the items of lists: one object must satisfy all of a filter. Decided on all items at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.matching.item_masks import values_holding
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.packed_lists import PackedLists, PackedValues
from cdp_store.arrays import Bools

ItemDecision = Callable[[PackedValues], Bools]
Compile = Callable[[tree.Condition], Matcher]


def items_matcher(test: tree.ItemsTest, compile_field: Compile) -> Matcher:
    """The matcher of an ItemsTest on lists; `compile_field` compiles the conditions on fields."""
    passes = _decision(test.where, compile_field)

    def any_passes(lists: PackedLists) -> Bools:
        owners, items = lists.items()
        return lists.any_item(owners, passes(items))

    def all_pass(lists: PackedLists) -> Bools:
        owners, items = lists.items()
        return ~lists.any_item(owners, ~passes(items))

    match test.op:
        case tree.ItemsOp.ALL:
            return Matcher(lists=all_pass)
        case tree.ItemsOp.ANY:
            return Matcher(lists=any_passes)
    return Matcher(lists=any_passes, negated=True)


def _decision(where: tree.Node, compile_field: Compile) -> ItemDecision:
    match where:
        case tree.All(nodes):
            every = [_decision(node, compile_field) for node in nodes]
            return lambda items: reduce(np.logical_and, [passes(items) for passes in every], _constant(items, True))
        case tree.Any(nodes):
            some = [_decision(node, compile_field) for node in nodes]
            return lambda items: reduce(np.logical_or, [passes(items) for passes in some], _constant(items, False))
        case tree.Not(node):
            passes = _decision(node, compile_field)
            return lambda items: ~passes(items)
        case tree.PropertyTest(name, condition):
            matcher = compile_field(condition)
            return lambda items: values_holding(items.field(name), matcher) ^ matcher.negated
    raise QueryInvalid(f"items are tested by their fields; {type(where).__name__} cannot stand there")


def _constant(items: PackedValues, value: bool) -> Bools:
    found: Bools = np.full(len(items), value)
    return found
