"""Binding of places, buckets and attribute history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cdp_query import tree
from cdp_query.bind.bound_profiles import (
    BoundBucket,
    BoundChanged,
    BoundDistance,
    BoundProfile,
    BoundUnchanged,
    BoundValueAt,
    BoundWas,
    Circle,
)
from cdp_query.calendar.windows import moment_span, resolve
from cdp_query.errors import QueryInvalid
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.matchers import compile_condition
from cdp_query.matching.ranges import range_of
from cdp_store.limits import BUCKETS

_ORDERINGS: Final = (tree.Op.LT, tree.Op.LE, tree.Op.GT, tree.Op.GE)
LATITUDE: Final = ".lat"
LONGITUDE: Final = ".lon"

Conditions = Callable[[tree.Condition], Matcher]


def bind_profile_test(
    node: tree.DistanceTest | tree.BucketTest | tree.HistoryTest,
    attributes: Mapping[str, int],
    context: tree.Context,
    matcher: Conditions,
    own: int,
) -> BoundProfile:
    """The bound form; `matcher` compiles conditions, `own` is the node's number."""
    match node:
        case tree.DistanceTest(name):
            return BoundDistance(own, attributes.get(name + LATITUDE), attributes.get(name + LONGITUDE), circle(node))
        case tree.BucketTest(first, last):
            if not 0 <= first <= last < BUCKETS:
                raise QueryInvalid(f"buckets are 0 to {BUCKETS - 1}, the smaller first; not {first} to {last}")
            return BoundBucket(own, first, last)
        case tree.WasTest(name, condition, window):
            return BoundWas(own, attributes.get(name), matcher(condition), resolve(window, context))
        case tree.ChangedTest(name, before, after, window):
            sides = [None if side is None else _side(side, context) for side in (before, after)]
            return BoundChanged(own, attributes.get(name), sides[0], sides[1], resolve(window, context))
        case tree.UnchangedTest(name, span):
            return BoundUnchanged(own, attributes.get(name), resolve(tree.Last(span), context))
        case tree.ValueAtTest(name, at, condition):
            return BoundValueAt(own, attributes.get(name), matcher(condition), _instant(at, context))


def circle(node: tree.DistanceTest) -> Circle:
    """The place and range of a distance test; QueryInvalid if there is no such place."""
    if not -90 <= node.latitude <= 90:
        raise QueryInvalid(
            f"latitude {node.latitude} is not between -90 and 90; write distance(name, latitude, longitude)"
        )
    if not -180 <= node.longitude <= 180:
        raise QueryInvalid(f"longitude {node.longitude} is not between -180 and 180")
    if node.op not in _ORDERINGS:
        raise QueryInvalid(f"a distance is compared with <, <=, > or >=, not {node.op.value}")
    return Circle(node.latitude, node.longitude, range_of(node.op, node.metres))


def _side(side: tree.ChangeSide, context: tree.Context) -> Matcher:
    if side.unset and side.values:
        raise QueryInvalid("one side of a change is unset or one of some values, not both")
    if not side.values:
        return Matcher(everything=True, negated=side.unset)
    return compile_condition(tree.OneOf(side.values), context)


def _instant(at: tree.Moment | tree.Duration, context: tree.Context) -> int:
    if isinstance(at, tree.Duration):
        return resolve(tree.MoreThanAgo(at), context).last_ms
    return min(moment_span(at, context).first_ms, context.as_of_ms)
