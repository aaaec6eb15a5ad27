"""Predicates over events beyond counts and aggregates, and filters on an event's time, on the wire."""

from __future__ import annotations

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.errors import RequestInvalid
from cdp_router.wire.conditions import OPERATORS
from cdp_router.wire.enums import known
from cdp_router.wire.expressions import FromEvents, ToEvents
from cdp_router.wire.windows import from_span, from_window, to_span, to_window


def to_event_test(node: tree.EventTest, to_events: ToEvents) -> pb.Segment:
    """Message of a predicate."""
    match node:
        case tree.RecencyTest(events, op, duration, window):
            recency = pb.RecencyTest(
                events=to_events(events), operator=OPERATORS[op], duration=to_span(duration), window=to_window(window)
            )
            return pb.Segment(recency=recency)
        case tree.Inactive(duration):
            return pb.Segment(inactive=pb.Inactive(duration=to_span(duration)))


def from_event_test(message: pb.Segment, path: str, from_events: FromEvents) -> tree.Node | None:
    """Predicate of a message, None when it says something else."""
    match message.WhichOneof("node"):
        case "recency":
            recency, inner = message.recency, f"{path}.recency"
            return tree.RecencyTest(
                from_events(recency.events, f"{inner}.events"),
                known(OPERATORS, recency.operator, f"{inner}.operator"),
                from_span(recency.duration, f"{inner}.duration"),
                from_window(recency.window, inner),
            )
        case "inactive":
            return tree.Inactive(from_span(message.inactive.duration, f"{path}.inactive.duration"))
    return None


def to_time_filter(node: tree.TimeFilter) -> pb.Filter:
    """Message of a filter on an event's time."""
    match node:
        case tree.HourTest(first, last):
            return pb.Filter(hour=pb.HourTest(first=first, last=last))
        case tree.WeekdayTest(days):
            return pb.Filter(weekday=pb.WeekdayTest(days=sorted(days)))


def from_time_filter(message: pb.Filter, path: str) -> tree.TimeFilter:
    """Filter of a message that is one on an event's time."""
    if message.WhichOneof("node") == "hour":
        return tree.HourTest(message.hour.first, message.hour.last)
    if not message.weekday.days or not set(message.weekday.days) <= set(range(1, 8)):
        raise RequestInvalid(f"{path}.weekday.days", "some of the days from 1, Monday, to 7, Sunday")
    return tree.WeekdayTest(frozenset(message.weekday.days))
