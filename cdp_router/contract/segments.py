"""Segments: the tree of cdp_query and the messages of cdp.v1, losslessly both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.limits import QUERY_NESTING_MAX
from cdp_router.contract.conditions import (
    OPERATORS,
    from_condition,
    from_number,
    to_condition,
    to_literal,
)
from cdp_router.contract.enums import known
from cdp_router.contract.event_tests import EventCodec, from_event_test, from_time_filter, to_event_test, to_time_filter
from cdp_router.contract.expressions import from_expression_test, to_expression_test
from cdp_router.contract.profiles import from_distance, from_profile_segment, to_distance, to_profile_segment
from cdp_router.contract.windows import from_span, from_window, to_span, to_window
from cdp_router.errors import RequestInvalid

_AGGREGATES: Final = {
    tree.Aggregate.SUM: pb.AGGREGATE_FUNCTION_SUM,
    tree.Aggregate.MIN: pb.AGGREGATE_FUNCTION_MIN,
    tree.Aggregate.MAX: pb.AGGREGATE_FUNCTION_MAX,
    tree.Aggregate.AVG: pb.AGGREGATE_FUNCTION_AVG,
}
_ORDERS: Final = {
    tree.StepOrder.ORDERED: pb.STEP_ORDER_ORDERED,
    tree.StepOrder.STRICT: pb.STEP_ORDER_STRICT,
    tree.StepOrder.ANY: pb.STEP_ORDER_ANY,
}
_ATTEMPT_MODES: Final = {
    tree.AttemptMode.DEEPEST: pb.ATTEMPT_MODE_DEEPEST,
    tree.AttemptMode.FIRST_ENTRY: pb.ATTEMPT_MODE_FIRST_ENTRY,
    tree.AttemptMode.TOTALS: pb.ATTEMPT_MODE_TOTALS,
}
_OCCURRENCES: Final = {
    tree.Occurrence.FIRST: pb.OCCURRENCE_FIRST,
    tree.Occurrence.LAST: pb.OCCURRENCE_LAST,
}


def to_events(events: tree.Events) -> pb.EventSet:
    """Message of the events of a report."""
    return _to_events(events)


def from_events(message: pb.EventSet, path: str) -> tree.Events:
    """Events of a report's message; RequestInvalid names the field that is missing or unknown."""
    return _from_events(message, path)


def to_funnel(report: tree.Funnel) -> pb.Steps:
    """Message of a funnel."""
    message = _to_steps(report)
    message.counting.CopyFrom(
        pb.FunnelCounting(
            mode=_ATTEMPT_MODES[report.mode],
            by_attribute=report.by_attribute or "",
            by_entry=report.by_entry or "",
            times=report.times,
        )
    )
    return message


def from_funnel(message: pb.Steps, path: str) -> tree.Funnel:
    """Funnel of a message."""
    counting = message.counting
    return tree.Funnel(
        *_from_steps(message, path),
        known(_ATTEMPT_MODES, counting.mode or pb.ATTEMPT_MODE_DEEPEST, f"{path}.counting.mode"),
        counting.by_attribute or None,
        counting.by_entry or None,
        counting.times,
    )


def to_segment(node: tree.Node) -> pb.Segment:
    """Message of a segment."""
    match node:
        case tree.All(items):
            return pb.Segment(all=pb.Segments(items=map(to_segment, items)))
        case tree.Any(items):
            return pb.Segment(any=pb.Segments(items=map(to_segment, items)))
        case tree.Not(item):
            return pb.Segment(negation=to_segment(item))
        case tree.Everyone():
            return pb.Segment(everyone=pb.Everyone())
        case tree.AttributeTest(name, condition):
            return pb.Segment(attribute=pb.AttributeTest(name=name, condition=to_condition(condition)))
        case tree.SequenceTest():
            return pb.Segment(sequence=_to_steps(node))
        case (
            tree.DistanceTest()
            | tree.BucketTest()
            | tree.WasTest()
            | tree.ChangedTest()
            | tree.UnchangedTest()
            | tree.ValueAtTest()
        ):
            return to_profile_segment(node)
        case tree.Did() | tree.CountTest() | tree.AggregateTest() | tree.OccurrenceTest():
            return _to_event_segment(node)
        case tree.HourTest() | tree.WeekdayTest():
            raise RequestInvalid("segment", "a test of the hour or weekday stands outside of an event filter")
        case tree.ExpressionTest():
            return pb.Segment(expression=to_expression_test(node, _to_events))
        case tree.InSegment(name, version):
            return pb.Segment(named=pb.SegmentReference(name=name, version=version or 0))
        case tree.PropertyTest(name):
            raise RequestInvalid("segment", f"the property test of {name!r} stands outside of an event filter")
    return to_event_test(node, _codec())


def _codec() -> EventCodec:
    return EventCodec(_to_events, _from_events, _to_filter, lambda message, path: _from_filter(message, path, 0))


def _to_event_segment(
    node: tree.Did | tree.CountTest | tree.AggregateTest | tree.OccurrenceTest,
) -> pb.Segment:
    events, window = _to_events(node.events), to_window(node.window)
    match node:
        case tree.Did():
            return pb.Segment(did=pb.DidTest(events=events, window=window))
        case tree.CountTest(op=op, value=value, exclude_zero=exclude_zero):
            return pb.Segment(
                count=pb.CountTest(
                    events=events,
                    window=window,
                    operator=OPERATORS[op],
                    value=to_literal(value),
                    exclude_zero=exclude_zero,
                )
            )
        case tree.AggregateTest(aggregate=aggregate, property=name, op=op, value=value):
            return pb.Segment(
                aggregate=pb.AggregateTest(
                    function=_AGGREGATES[aggregate],
                    property=name,
                    events=events,
                    window=window,
                    operator=OPERATORS[op],
                    value=to_literal(value),
                )
            )
        case tree.OccurrenceTest(occurrence=occurrence):
            return pb.Segment(
                occurrence=pb.OccurrenceTest(occurrence=_OCCURRENCES[occurrence], events=events, window=window)
            )


def from_segment(message: pb.Segment, path: str = "segment", depth: int = 0) -> tree.Node:
    """Segment of a message; RequestInvalid names the field that is missing or unknown."""
    if depth > QUERY_NESTING_MAX:
        raise RequestInvalid(path, f"more than {QUERY_NESTING_MAX} levels inside each other")
    match message.WhichOneof("node"):
        case "all":
            return tree.All(_from_items(message.all.items, f"{path}.all", depth))
        case "any":
            return tree.Any(_from_items(message.any.items, f"{path}.any", depth))
        case "negation":
            return tree.Not(from_segment(message.negation, f"{path}.negation", depth + 1))
        case "everyone":
            return tree.Everyone()
        case "attribute":
            inner = f"{path}.attribute"
            _named(message.attribute.name, f"{inner}.name")
            return tree.AttributeTest(message.attribute.name, from_condition(message.attribute.condition, inner))
        case "named":
            name = _named(message.named.name, f"{path}.named.name")
            return tree.InSegment(name, message.named.version or None)
        case "sequence":
            return tree.SequenceTest(*_from_steps(message.sequence, f"{path}.sequence"))
        case "expression":
            return from_expression_test(message.expression, f"{path}.expression", _from_events)
    event_test = from_event_test(message, path, _codec())
    return event_test or from_profile_segment(message, path) or _from_event_segment(message, path)


def _from_event_segment(message: pb.Segment, path: str) -> tree.Node:
    match message.WhichOneof("node"):
        case "did":
            did, inner = message.did, f"{path}.did"
            return tree.Did(_from_events(did.events, f"{inner}.events"), from_window(did.window, inner))
        case "count":
            count, inner = message.count, f"{path}.count"
            return tree.CountTest(
                _from_events(count.events, f"{inner}.events"),
                from_window(count.window, inner),
                known(OPERATORS, count.operator, f"{inner}.operator"),
                from_number(count.value, f"{inner}.value"),
                count.exclude_zero,
            )
        case "aggregate":
            aggregate, inner = message.aggregate, f"{path}.aggregate"
            _named(aggregate.property, f"{inner}.property")
            return tree.AggregateTest(
                known(_AGGREGATES, aggregate.function, f"{inner}.function"),
                aggregate.property,
                _from_events(aggregate.events, f"{inner}.events"),
                from_window(aggregate.window, inner),
                known(OPERATORS, aggregate.operator, f"{inner}.operator"),
                from_number(aggregate.value, f"{inner}.value"),
            )
        case "occurrence":
            occurrence, inner = message.occurrence, f"{path}.occurrence"
            return tree.OccurrenceTest(
                known(_OCCURRENCES, occurrence.occurrence, f"{inner}.occurrence"),
                _from_events(occurrence.events, f"{inner}.events"),
                from_window(occurrence.window, inner),
            )
    raise RequestInvalid(f"{path}.node", "a segment must say what it tests")


def _from_items(items: Iterable[pb.Segment], path: str, depth: int) -> tuple[tree.Node, ...]:
    return tuple(from_segment(item, f"{path}.items[{index}]", depth + 1) for index, item in enumerate(items))


def _to_steps(node: tree.SequenceTest | tree.Funnel) -> pb.Steps:
    rules = node.rules
    return pb.Steps(
        steps=map(_to_events, node.steps),
        window=to_window(node.window),
        within=None if node.within is None else to_span(node.within),
        strict_ties=node.strict_ties,
        within_each=None if rules.within_each is None else to_span(rules.within_each),
        order=_ORDERS[rules.order],
        hold=rules.hold or "",
        without=[pb.Exclusion(gap=excluded.gap, events=_to_events(excluded.events)) for excluded in rules.without],
    )


def _from_steps(
    message: pb.Steps, path: str
) -> tuple[tuple[tree.Events, ...], tree.Window, tree.Duration | None, bool, tree.AttemptRules]:
    steps = tuple(_from_events(step, f"{path}.steps[{index}]") for index, step in enumerate(message.steps))
    without = tuple(
        tree.Exclusion(excluded.gap, _from_events(excluded.events, f"{path}.without[{index}].events"))
        for index, excluded in enumerate(message.without)
    )
    rules = tree.AttemptRules(
        from_span(message.within_each, f"{path}.within_each") if message.HasField("within_each") else None,
        known(_ORDERS, message.order or pb.STEP_ORDER_ORDERED, f"{path}.order"),
        message.hold or None,
        tuple(sorted(without, key=lambda excluded: excluded.gap)),
    )
    within = from_span(message.within, f"{path}.within") if message.HasField("within") else None
    return steps, from_window(message.window, path), within, message.strict_ties, rules


def _to_events(events: tree.Events) -> pb.EventSet:
    return pb.EventSet(names=events.names, where=None if events.where is None else _to_filter(events.where))


def _from_events(message: pb.EventSet, path: str) -> tree.Events:
    if not message.names or not all(message.names):
        raise RequestInvalid(f"{path}.names", "at least one event name, none of them empty")
    where = _from_filter(message.where, f"{path}.where", 0) if message.HasField("where") else None
    return tree.Events(tuple(message.names), where)


def _to_filter(node: tree.Node) -> pb.Filter:
    match node:
        case tree.All(items):
            return pb.Filter(all=pb.Filters(items=map(_to_filter, items)))
        case tree.Any(items):
            return pb.Filter(any=pb.Filters(items=map(_to_filter, items)))
        case tree.Not(item):
            return pb.Filter(negation=_to_filter(item))
        case tree.DistanceTest():
            return pb.Filter(distance=to_distance(node))
        case tree.HourTest() | tree.WeekdayTest():
            return to_time_filter(node)
        case tree.PropertyTest(name, condition):
            return pb.Filter(property=pb.PropertyTest(name=name, condition=to_condition(condition)))
    raise RequestInvalid("events.where", f"{type(node).__name__} cannot stand in an event filter")


def _from_filter(message: pb.Filter, path: str, depth: int) -> tree.Node:
    if depth > QUERY_NESTING_MAX:
        raise RequestInvalid(path, f"more than {QUERY_NESTING_MAX} levels inside each other")
    match message.WhichOneof("node"):
        case "all":
            return tree.All(_from_filters(message.all.items, f"{path}.all", depth))
        case "any":
            return tree.Any(_from_filters(message.any.items, f"{path}.any", depth))
        case "negation":
            return tree.Not(_from_filter(message.negation, f"{path}.negation", depth + 1))
        case "distance":
            return from_distance(message.distance, f"{path}.distance")
        case "hour" | "weekday":
            return from_time_filter(message, path)
        case "property":
            _named(message.property.name, f"{path}.property.name")
            return tree.PropertyTest(
                message.property.name, from_condition(message.property.condition, f"{path}.property")
            )
    raise RequestInvalid(f"{path}.node", "a filter must say what it tests")


def _from_filters(items: Iterable[pb.Filter], path: str, depth: int) -> tuple[tree.Node, ...]:
    return tuple(_from_filter(item, f"{path}.items[{index}]", depth + 1) for index, item in enumerate(items))


def _named(name: str, path: str) -> str:
    if not name:
        raise RequestInvalid(path, "must not be empty")
    return name
