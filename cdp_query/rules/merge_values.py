"""a = 1 or a = 2 -> a in [1, 2]; a != 1 and a != 2 -> a not in [1, 2]; a >= 1 and a <= 5 -> a between 1 and 5.

An attribute is then read once, and its strings are decided once.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdp_query.rules.groups import Group, grouped, on_groups
from cdp_query.tree import All, AttributeTest, Between, Compare, Literal, Node, OneOf, Op


def merge_values(node: Node) -> Node:
    """The segment with conditions on the same attribute merged if one condition can express them all."""
    return on_groups(node, _merged)


def _merged(group: Group) -> Node:
    items = _with_lists(group.items, negated=isinstance(group, All))
    if isinstance(group, All):
        items = _with_ranges(items)
    return grouped(type(group), items)


def _with_lists(items: Sequence[Node], *, negated: bool) -> list[Node]:
    """Equalities (negated ones in an `and`) of one attribute as one list, in the place of the first."""
    kept, found = list[Node](), dict[tuple[str, bool], tuple[int, dict[str, Literal]]]()
    for item in items:
        match item:
            case AttributeTest(name, Compare(op, value, ci)) if op is (Op.NE if negated else Op.EQ):
                values: tuple[Literal, ...] = (value,)
            case AttributeTest(name, OneOf(values, is_negated, ci)) if is_negated is negated:
                pass
            case _:
                kept.append(item)
                continue
        if (name, ci) not in found:
            found[name, ci] = len(kept), {}
            kept.append(item)
        place, several = found[name, ci]
        several.update((repr(value), value) for value in values)
        if len(several) > 1:
            kept[place] = AttributeTest(name, OneOf(tuple(several.values()), negated, ci))
    return kept


def _with_ranges(items: Sequence[Node]) -> list[Node]:
    """Bounds of one attribute that are numbers as one range, in the place of the first."""
    kept, places = list[Node](), dict[tuple[str, bool], int]()
    for item in items:
        match item:
            case AttributeTest(name, Compare(Op.GE | Op.GT | Op.LE | Op.LT as op, int() | float() as value)) if (
                not isinstance(value, bool)
            ):
                is_lower = op in (Op.GE, Op.GT)
            case _:
                kept.append(item)
                continue
        place = places.setdefault((name, is_lower), len(kept))
        if place == len(kept):
            kept.append(item)
        else:
            kept[place] = _tighter(kept[place], item, is_lower=is_lower)
    return _closed(kept, places)


def _tighter(first: Node, second: Node, *, is_lower: bool) -> Node:
    """The stronger of two bounds on the same side."""
    (a, strict), (b, _) = _bound(first), _bound(second)
    if a == b:
        return first if strict else second
    return first if (a > b) is is_lower else second


def _bound(node: Node) -> tuple[int | float, bool]:
    """(the number of a bound, whether it is left out)."""
    assert isinstance(node, AttributeTest)
    assert isinstance(node.condition, Compare)
    assert isinstance(node.condition.value, int | float)
    return node.condition.value, node.condition.op in (Op.GT, Op.LT)


def _closed(items: list[Node], places: dict[tuple[str, bool], int]) -> list[Node]:
    """A lower and an upper bound that belong to their range as one `between`."""
    gone = set[int]()
    for (name, is_lower), low_place in places.items():
        high_place = places.get((name, False))
        if not is_lower or high_place is None:
            continue
        (low, low_open), (high, high_open) = _bound(items[low_place]), _bound(items[high_place])
        if not low_open and not high_open and low <= high:
            first, second = sorted((low_place, high_place))
            items[first] = AttributeTest(name, Between(low, high))
            gone.add(second)
    return [item for place, item in enumerate(items) if place not in gone]
