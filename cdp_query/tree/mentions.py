"""Every occurrence of a name in a question, found by one walk over the fields of the tree."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Final, NamedTuple, get_args

from cdp_query import tree
from cdp_query.tree.walk import children, texts


class NameKind(enum.Enum):
    """Kind of a text in the tree: a name of one of four kinds, or no name."""

    EVENT = "event"
    ATTRIBUTE = "attribute"
    PROPERTY = "property"
    SEGMENT = "segment"
    NO_NAME = "literal, unit or zone"


VALUE_OF: Final = frozenset((NameKind.ATTRIBUTE, NameKind.PROPERTY))
FIELDS: Final[Mapping[tuple[type, str], NameKind]] = {
    **dict.fromkeys(
        ((tree.Events, "names"), (tree.WithinFirst, "names"), (tree.Flow, "only")),
        NameKind.EVENT,
    ),
    **dict.fromkeys(
        (
            (tree.AttributeTest, "name"),
            (tree.DistanceTest, "name"),
            (tree.WasTest, "name"),
            (tree.ChangedTest, "name"),
            (tree.UnchangedTest, "name"),
            (tree.ValueAtTest, "name"),
            (tree.Since, "attribute"),
            (tree.Breakdown, "attribute"),
            (tree.Funnel, "by_attribute"),
            (tree.AttributeNumber, "name"),
        ),
        NameKind.ATTRIBUTE,
    ),
    **dict.fromkeys(
        (
            (tree.PropertyTest, "name"),
            (tree.AggregateTest, "property"),
            (tree.EdgeValueTest, "property"),
            (tree.MostlyTest, "property"),
            (tree.ShareTest, "property"),
            (tree.Measure, "property"),
            (tree.AttemptRules, "hold"),
            (tree.Funnel, "by_entry"),
            (tree.Trend, "property"),
            (tree.Rfm, "money"),
        ),
        NameKind.PROPERTY,
    ),
    (tree.InSegment, "name"): NameKind.SEGMENT,
    **dict.fromkeys(
        (
            (tree.Moment, "iso"),
            (tree.Duration, "unit"),
            (tree.Compare, "value"),
            (tree.OneOf, "values"),
            (tree.Between, "low"),
            (tree.Between, "high"),
            (tree.TextTest, "pattern"),
            (tree.ListTest, "values"),
            (tree.VersionTest, "version"),
            (tree.ChangeSide, "values"),
            (tree.RegularlyTest, "unit"),
            (tree.This, "unit"),
            (tree.Previous, "unit"),
            (tree.Context, "tz"),
            *((kind, field.name) for kind in get_args(tree.Report) for field in fields(kind) if field.name == "unit"),
        ),
        NameKind.NO_NAME,
    ),
}


_FILTERS: Final = frozenset(((tree.Events, "where"), (tree.NthTest, "where")))


class Mention(NamedTuple):
    """A name, and the part of the question with the `field` that holds it.

    A field of a list's items has the dotted name that leads to it: `cart.sku` in any(cart, sku = "x"), with `in_list`
    `cart.`.
    """

    kind: NameKind
    name: str
    part: object
    field: str
    in_list: str = ""


def mentions(part: object, in_list: str = "", *, of_event: bool = False) -> Iterator[Mention]:
    """Every name in a question or a part of one; TypeError for a text in a field that FIELDS does not list.

    `in_list` is put before the names of attributes and properties. In a filter of events, `of_event`, all are
    properties.
    """
    for field, text in texts(part):
        kind = FIELDS.get((type(part), field))
        if kind is None:
            raise TypeError(f"{type(part).__name__}.{field} holds a text, and FIELDS does not list it")
        if kind is NameKind.ATTRIBUTE and of_event:
            kind = NameKind.PROPERTY
        if kind is not NameKind.NO_NAME:
            yield Mention(kind, in_list + text if kind in VALUE_OF else text, part, field, in_list)
    for field, child in children(part):
        inner = f"{in_list}{getattr(part, 'name', '')}." if isinstance(child, tree.ItemsTest) else in_list
        yield from mentions(child, inner, of_event=of_event or (type(part), field) in _FILTERS)
