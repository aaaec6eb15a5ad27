"""The one walk over the tree reaches every part, whatever new dataclass or field holds it."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from cdp_query import tree
from cdp_query.bind.names import Names, names_of
from cdp_query.language import parse
from cdp_query.tree.walk import children, descendants, operands, predicates

_PARTS: list[type] = [
    part for part in map(vars(tree).get, tree.__all__) if isinstance(part, type) and dataclasses.is_dataclass(part)
]


def _parts_of(annotation: Any) -> tuple[set[type], set[Any]]:
    """(dataclasses a field may hold, what they stand in: tuples, other containers)."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return {annotation}, set()
    held, around = set[type](), set[Any]()
    for inner in get_args(annotation):
        inner_held, inner_around = _parts_of(inner)
        held, around = held | inner_held, around | inner_around
    origin = get_origin(annotation)
    if held and origin is not None and not issubclass(origin, types.UnionType):
        around.add(origin)
    return held, around


def _made(kind: type, **values: Any) -> Any:
    """An instance with these fields, all others None, whatever the types."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(made, field.name, values.get(field.name))
    return made


@pytest.mark.parametrize("kind", _PARTS, ids=lambda kind: kind.__name__)
def test_every_field_that_holds_parts_is_walked(kind: type) -> None:
    for name, annotation in get_type_hints(kind, localns=dict(vars(tree))).items():
        held, around = _parts_of(annotation)
        assert around <= {tuple}, f"children() does not look into {around}: {kind.__name__}.{name}"
        for inner in held:
            part = _made(inner)
            value = (part,) if around else part
            assert [each for field, each in children(_made(kind, **{name: value})) if field == name] == [part]


def test_every_dataclass_of_the_tree_is_reached_from_a_question() -> None:
    reached, left = set[type](), list(_parts_of(tree.Question)[0])
    while left:
        kind = left.pop()
        if kind not in reached:
            reached.add(kind)
            for annotation in get_type_hints(kind, localns=dict(vars(tree))).values():
                left.extend(_parts_of(annotation)[0])
    assert set(_PARTS) - reached == {tree.Context}


def test_parts_come_in_the_order_they_are_written_in() -> None:
    question = parse('did("A", x = 1 and y = 2) and not (plan = "gold" or count("B") > 2)')
    assert [type(part).__name__ for part in descendants(question)][:4] == ["All", "Did", "Events", "All"]
    assert [type(part).__name__ for part in predicates(question)] == ["Did", "AttributeTest", "CountTest"]  # type: ignore[arg-type]
    assert operands(question) == question.items  # type: ignore[arg-type, union-attr]
    assert operands(tree.Everyone()) == operands(tree.All(())) == ()
    assert list(predicates(tree.All(()))) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('did("A", distance(home, 1, 2) < 5)', Names(frozenset({"A"}), frozenset({"home.lat", "home.lon"}))),
        ('nth("A", 2, distance(home, 1, 2) < 5)', Names(frozenset({"A"}), frozenset({"home.lat", "home.lon"}))),
        ("distance(home, 1, 2) < 5", Names(attributes=frozenset({"home.lat", "home.lon"}))),
        ('any(lines, sku = "a")', Names(attributes=frozenset({"lines"}))),
        ('did("A", any(lines, sku = "a"))', Names(frozenset({"A"}), frozenset({"lines"}))),
        ('did("A", since: signup)', Names(frozenset({"A"}), attributes=frozenset({"signup"}))),
        ('in_segment("vip")', Names()),
    ],
)  # fmt: skip
def test_names_are_events_properties_and_attributes(text: str, names: Names) -> None:
    assert names_of(parse(text)) == names
