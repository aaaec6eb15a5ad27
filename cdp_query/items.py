"""Conditions on the items of a list, decided once per distinct list: does one object satisfy all of a filter?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.matcher import Matcher
from cdp_store.values import to_ms

ItemDecision = Callable[[Any], bool]
Compile = Callable[[tree.Condition], Matcher]


def items_matcher(test: tree.ItemsTest, compile_field: Compile) -> Matcher:
    """The matcher of an ItemsTest on lists; `compile_field` compiles the conditions on fields."""
    passes = _decision(test.where, compile_field)
    match test.op:
        case tree.ItemsOp.ALL:
            return Matcher(lists=lambda items: all(map(passes, items)))
        case tree.ItemsOp.ANY:
            return Matcher(lists=lambda items: any(map(passes, items)))
    return Matcher(lists=lambda items: any(map(passes, items)), negated=True)


def _decision(where: tree.Node, compile_field: Compile) -> ItemDecision:
    match where:
        case tree.All(nodes):
            every = [_decision(node, compile_field) for node in nodes]
            return lambda item: all(passes(item) for passes in every)
        case tree.Any(nodes):
            some = [_decision(node, compile_field) for node in nodes]
            return lambda item: any(passes(item) for passes in some)
        case tree.Not(node):
            passes = _decision(node, compile_field)
            return lambda item: not passes(item)
        case tree.PropertyTest(name, condition):
            matcher, path = compile_field(condition), name.split(".")
            return lambda item: _holds(matcher, _field(item, name, path))
    raise QueryInvalid(f"items are tested by their fields; {type(where).__name__} cannot stand there")


def _field(item: Any, name: str, path: list[str]) -> Any:
    """The field of that name, or the one the dotted path leads to; None where there is none."""
    if isinstance(item, dict) and name in item:
        return item[name]
    for step in path:
        if not isinstance(item, dict):
            return None
        item = item.get(step)
    return item


def _holds(matcher: Matcher, value: Any) -> bool:
    if value is None:
        return matcher.negated
    return _positive(matcher, value) != matcher.negated


def _positive(matcher: Matcher, value: Any) -> bool:
    if matcher.everything:
        return True
    match value:
        case list():
            return matcher.lists is not None and matcher.lists(value)
        case datetime() if matcher.instants is not None:
            return bool(matcher.instants(np.array([to_ms(value)], np.int64))[0])
        case str() if matcher.literals is not None:
            return value in matcher.literals
    return matcher.holds(value)
