"""Every place of a question where a name stands, found by one walk over the fields of the tree."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

from cdp_query import tree


class Named(enum.Enum):
    """What a text in the tree is."""

    EVENT = "event"
    VALUE_OF = "attribute or property"
    SEGMENT = "segment"
    NO_NAME = "literal, unit or zone"


FIELDS: Final[Mapping[tuple[type, str], Named]] = {
    **dict.fromkeys(
        ((tree.Events, "names"), (tree.WithinFirst, "names"), (tree.Flow, "only")),
        Named.EVENT,
    ),
    **dict.fromkeys(
        (
            (tree.AttributeTest, "name"),
            (tree.PropertyTest, "name"),
            (tree.DistanceTest, "name"),
            (tree.WasTest, "name"),
            (tree.ChangedTest, "name"),
            (tree.UnchangedTest, "name"),
            (tree.ValueAtTest, "name"),
            (tree.Since, "attribute"),
            (tree.AggregateTest, "property"),
            (tree.EdgeValueTest, "property"),
            (tree.MostlyTest, "property"),
            (tree.ShareTest, "property"),
            (tree.Measure, "property"),
            (tree.AttemptRules, "hold"),
            (tree.Breakdown, "attribute"),
            (tree.Funnel, "by_attribute"),
            (tree.Funnel, "by_entry"),
            (tree.Trend, "property"),
            (tree.AttributeNumber, "name"),
            (tree.Rfm, "money"),
        ),
        Named.VALUE_OF,
    ),
    (tree.InSegment, "name"): Named.SEGMENT,
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
            (tree.Trend, "unit"),
            (tree.Retention, "unit"),
            (tree.Context, "tz"),
        ),
        Named.NO_NAME,
    ),
}


@dataclass(frozen=True, slots=True)
class Mention:
    """A name, and the part of the question in whose `field` it stands.

    A field of a list's items has the dotted name that leads to it: `cart.sku` in any(cart, sku = "x").
    """

    kind: Named
    name: str
    part: object
    field: str


def mentions(part: object, above: str = "") -> Iterator[Mention]:
    """Every name in a question or a part of one; TypeError where a text stands in a field that FIELDS does not list.

    `above` is put before the names of attributes and properties.
    """
    if isinstance(part, tuple | frozenset):
        for item in part:
            yield from mentions(item, above)
        return
    if not is_dataclass(part) or isinstance(part, type):
        return
    for field in fields(part):
        value = getattr(part, field.name)
        texts = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)]
        if texts:
            yield from _named(part, field.name, texts, above)
        items_of = isinstance(value, tree.ItemsTest) and getattr(part, "name", None)
        yield from mentions(value, f"{above}{items_of}." if items_of else above)


def _named(part: object, field: str, texts: list[str], above: str) -> Iterator[Mention]:
    kind = FIELDS.get((type(part), field))
    if kind is None:
        raise TypeError(f"{type(part).__name__}.{field} holds a text, and nobody has said whether it is a name")
    if kind is not Named.NO_NAME:
        for text in texts:
            yield Mention(kind, above + text if kind is Named.VALUE_OF else text, part, field)
