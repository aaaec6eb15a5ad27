"""Predicates about places, buckets and attribute history on the wire."""

from __future__ import annotations

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.contract.conditions import OPERATORS, from_condition, from_literal, to_condition, to_literal
from cdp_router.contract.enums import known
from cdp_router.contract.windows import from_span, from_window, to_span, to_window
from cdp_router.errors import RequestInvalid


def to_distance(node: tree.DistanceTest) -> pb.DistanceTest:
    """Message of a distance test."""
    return pb.DistanceTest(
        name=node.name,
        latitude=node.latitude,
        longitude=node.longitude,
        operator=OPERATORS[node.op],
        metres=to_literal(node.metres),
    )


def from_distance(message: pb.DistanceTest, path: str) -> tree.DistanceTest:
    """Distance test of a message."""
    metres = from_literal(message.metres, f"{path}.metres")
    if isinstance(metres, bool) or not isinstance(metres, int | float):
        raise RequestInvalid(f"{path}.metres", "must be an integer or a number")
    op = known(OPERATORS, message.operator, f"{path}.operator")
    return tree.DistanceTest(_name(message.name, path), message.latitude, message.longitude, op, metres)


def to_profile_segment(node: tree.DistanceTest | tree.BucketTest | tree.HistoryTest) -> pb.Segment:
    """Message of a predicate."""
    match node:
        case tree.DistanceTest():
            return pb.Segment(distance=to_distance(node))
        case tree.BucketTest(first, last):
            return pb.Segment(bucket=pb.BucketTest(first=first, last=last))
        case tree.WasTest(name, condition, window):
            return pb.Segment(was=pb.WasTest(name=name, condition=to_condition(condition), window=to_window(window)))
        case tree.ChangedTest(name, before, after, window):
            sides = [None if side is None else _to_side(side) for side in (before, after)]
            return pb.Segment(
                changed=pb.ChangedTest(name=name, before=sides[0], after=sides[1], window=to_window(window))
            )
        case tree.UnchangedTest(name, span):
            return pb.Segment(unchanged=pb.UnchangedTest(name=name, span=to_span(span)))
        case tree.ValueAtTest(name, at, condition):
            test = pb.ValueAtTest(name=name, condition=to_condition(condition))
            if isinstance(at, tree.Moment):
                test.moment = at.iso
            else:
                test.ago.CopyFrom(to_span(at))
            return pb.Segment(value_at=test)


def from_profile_segment(message: pb.Segment, path: str) -> tree.Node | None:
    """Predicate of a message; None when the message holds none of these."""
    match message.WhichOneof("node"):
        case "distance":
            return from_distance(message.distance, f"{path}.distance")
        case "bucket":
            return tree.BucketTest(message.bucket.first, message.bucket.last)
        case "was":
            was, inner = message.was, f"{path}.was"
            condition = from_condition(was.condition, inner)
            return tree.WasTest(_name(was.name, inner), condition, from_window(was.window, inner))
        case "changed":
            changed, inner = message.changed, f"{path}.changed"
            return tree.ChangedTest(
                _name(changed.name, inner),
                _from_side(changed.before, f"{inner}.before") if changed.HasField("before") else None,
                _from_side(changed.after, f"{inner}.after") if changed.HasField("after") else None,
                from_window(changed.window, inner),
            )
        case "unchanged":
            inner = f"{path}.unchanged"
            return tree.UnchangedTest(
                _name(message.unchanged.name, inner), from_span(message.unchanged.span, f"{inner}.span")
            )
        case "value_at":
            return _from_value_at(message.value_at, f"{path}.value_at")
    return None


def _from_value_at(message: pb.ValueAtTest, path: str) -> tree.ValueAtTest:
    match message.WhichOneof("at"):
        case "moment":
            at: tree.Moment | tree.Duration = tree.Moment(message.moment)
        case "ago":
            at = from_span(message.ago, f"{path}.ago")
        case _:
            raise RequestInvalid(f"{path}.at", "one of moment and ago must be given")
    return tree.ValueAtTest(_name(message.name, path), at, from_condition(message.condition, path))


def _to_side(side: tree.ChangeSide) -> pb.ChangeSide:
    return pb.ChangeSide(values=map(to_literal, side.values), unset=side.unset)


def _from_side(message: pb.ChangeSide, path: str) -> tree.ChangeSide:
    values = tuple(from_literal(value, f"{path}.values[{index}]") for index, value in enumerate(message.values))
    return tree.ChangeSide(values, message.unset)


def _name(name: str, path: str) -> str:
    if not name:
        raise RequestInvalid(f"{path}.name", "must not be empty")
    return name
