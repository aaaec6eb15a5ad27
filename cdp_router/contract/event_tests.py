"""Predicates over events beyond counts and aggregates, and filters on an event's time, on the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.contract.conditions import OPERATORS, from_condition, from_number, to_condition, to_literal
from cdp_router.contract.enums import known
from cdp_router.contract.expressions import FromEvents, ToEvents
from cdp_router.contract.windows import CALENDAR, from_span, from_window, to_span, to_window
from cdp_router.errors import RequestInvalid

_EDGES: Final = {tree.Edge.FIRST: pb.EDGE_FIRST, tree.Edge.LAST: pb.EDGE_LAST}


@dataclass(frozen=True, slots=True)
class EventCodec:
    """How sets of events and filters are written and read."""

    to_events: ToEvents
    from_events: FromEvents
    to_filter: Callable[[tree.Node], pb.Filter]
    from_filter: Callable[[pb.Filter, str], tree.Node]


def to_event_test(node: tree.EventTest, codec: EventCodec) -> pb.Segment:
    """Message of a predicate."""
    match node:
        case tree.RecencyTest(events, op, duration, window):
            recency = pb.RecencyTest(
                events=codec.to_events(events),
                operator=OPERATORS[op],
                duration=to_span(duration),
                window=to_window(window),
            )
            return pb.Segment(recency=recency)
        case tree.Inactive(duration):
            return pb.Segment(inactive=pb.Inactive(duration=to_span(duration)))
        case tree.NthTest(events, number, where, window):
            nth = pb.NthTest(
                events=codec.to_events(events),
                number=number,
                where=None if where is None else codec.to_filter(where),
                window=to_window(window),
            )
            return pb.Segment(nth=nth)
        case tree.RegularlyTest(events, times, unit, periods, of_last):
            regularly = pb.RegularlyTest(
                events=codec.to_events(events),
                times=times,
                unit=CALENDAR[unit],
                periods=periods,
                of_last=of_last,
            )
            return pb.Segment(regularly=regularly)
        case tree.StoppedTest(events, earlier, later):
            windows = {"earlier": to_window(earlier), "later": to_window(later)}
            return pb.Segment(stopped=pb.StoppedTest(events=codec.to_events(events), **windows))
        case tree.ResumedTest(events, gap):
            return pb.Segment(resumed=pb.ResumedTest(events=codec.to_events(events), gap=to_window(gap)))
    return _to_value_test(node, codec)


def _to_value_test(node: tree.EdgeValueTest | tree.MostlyTest | tree.ShareTest, codec: EventCodec) -> pb.Segment:
    events, window, condition = codec.to_events(node.events), to_window(node.window), to_condition(node.condition)
    parts: dict[str, Any] = {"property": node.property, "events": events, "window": window, "condition": condition}
    match node:
        case tree.EdgeValueTest(edge):
            return pb.Segment(edge_value=pb.EdgeValueTest(edge=_EDGES[edge], **parts))
        case tree.MostlyTest():
            return pb.Segment(mostly=pb.MostlyTest(**parts))
        case tree.ShareTest(op=op, value=value):
            return pb.Segment(share=pb.ShareTest(operator=OPERATORS[op], value=to_literal(value), **parts))


def from_event_test(message: pb.Segment, path: str, codec: EventCodec) -> tree.Node | None:
    """Predicate of a message, None when it says something else."""
    match message.WhichOneof("node"):
        case "recency":
            recency, inner = message.recency, f"{path}.recency"
            return tree.RecencyTest(
                codec.from_events(recency.events, f"{inner}.events"),
                known(OPERATORS, recency.operator, f"{inner}.operator"),
                from_span(recency.duration, f"{inner}.duration"),
                from_window(recency.window, inner),
            )
        case "inactive":
            return tree.Inactive(from_span(message.inactive.duration, f"{path}.inactive.duration"))
        case "nth":
            nth, inner = message.nth, f"{path}.nth"
            events = codec.from_events(nth.events, f"{inner}.events")
            where = codec.from_filter(nth.where, f"{inner}.where") if nth.HasField("where") else None
            return tree.NthTest(events, nth.number, where, from_window(nth.window, inner))
        case "regularly":
            regularly, inner = message.regularly, f"{path}.regularly"
            return tree.RegularlyTest(
                codec.from_events(regularly.events, f"{inner}.events"),
                regularly.times,
                known(CALENDAR, regularly.unit, f"{inner}.unit"),
                regularly.periods,
                regularly.of_last,
            )
        case "stopped":
            stopped, inner = message.stopped, f"{path}.stopped"
            return tree.StoppedTest(
                codec.from_events(stopped.events, f"{inner}.events"),
                _bounded(stopped.earlier, f"{inner}.earlier"),
                _bounded(stopped.later, f"{inner}.later"),
            )
        case "resumed":
            resumed, inner = message.resumed, f"{path}.resumed"
            return tree.ResumedTest(
                codec.from_events(resumed.events, f"{inner}.events"), _bounded(resumed.gap, f"{inner}.gap")
            )
    return _from_value_test(message, path, codec)


def _from_value_test(message: pb.Segment, path: str, codec: EventCodec) -> tree.Node | None:
    match message.WhichOneof("node"):
        case "edge_value":
            edge, inner = message.edge_value, f"{path}.edge_value"
            return tree.EdgeValueTest(known(_EDGES, edge.edge, f"{inner}.edge"), *_value_parts(edge, inner, codec))
        case "mostly":
            return tree.MostlyTest(*_value_parts(message.mostly, f"{path}.mostly", codec))
        case "share":
            share, inner = message.share, f"{path}.share"
            return tree.ShareTest(
                *_value_parts(share, inner, codec),
                known(OPERATORS, share.operator, f"{inner}.operator"),
                from_number(share.value, f"{inner}.value"),
            )
    return None


def _value_parts(
    message: pb.EdgeValueTest | pb.MostlyTest | pb.ShareTest, path: str, codec: EventCodec
) -> tuple[str, tree.Events, tree.Window, tree.Infix]:
    if not message.property:
        raise RequestInvalid(f"{path}.property", "must not be empty")
    condition = from_condition(message.condition, path)
    if isinstance(condition, tree.Exists | tree.SizeTest | tree.VersionTest | tree.Anniversary | tree.ItemsTest):
        raise RequestInvalid(f"{path}.condition", "asks nothing of one value; use did with a filter")
    events = codec.from_events(message.events, f"{path}.events")
    return message.property, events, from_window(message.window, path), condition


def _bounded(message: pb.Window, path: str) -> tree.Window:
    window = from_window(message, path)
    if isinstance(window, tree.Always):
        raise RequestInvalid(path, "must be given")
    return window


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
