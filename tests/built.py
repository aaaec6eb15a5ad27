"""Any question written with the Python builder of the client: what a person would type, made from its tree."""

from __future__ import annotations

from typing import Any

from cdp_query import tree
from cdp_router.client import questions as q
from cdp_router.client.comparisons import Tested, Value
from cdp_router.client.expressions import Report, Segment

_COMPARED = {
    tree.Op.EQ: lambda left, right: left == right,
    tree.Op.NE: lambda left, right: left != right,
    tree.Op.LT: lambda left, right: left < right,
    tree.Op.LE: lambda left, right: left <= right,
    tree.Op.GT: lambda left, right: left > right,
    tree.Op.GE: lambda left, right: left >= right,
}
_CALCULATED = {
    tree.ArithmeticOp.ADD: lambda left, right: left + right,
    tree.ArithmeticOp.SUBTRACT: lambda left, right: left - right,
    tree.ArithmeticOp.MULTIPLY: lambda left, right: left * right,
    tree.ArithmeticOp.DIVIDE: lambda left, right: left / right,
}
_OF_PROPERTY = {
    tree.Measured.DISTINCT: q.distinct_of,
    tree.Measured.SUM: q.sum_of,
    tree.Measured.AVG: q.avg_of,
    tree.Measured.MIN: q.min_of,
    tree.Measured.MAX: q.max_of,
    tree.Measured.MEDIAN: q.median_of,
    tree.Measured.P95: q.p95_of,
}
_PLAIN = {
    tree.Measured.COUNT: q.count,
    tree.Measured.DAYS: q.days,
    tree.Measured.WEEKS: q.weeks,
    tree.Measured.STREAK: q.streak,
}


def build(question: tree.Question) -> Segment | Report:
    """The question as an expression of the builder."""
    match question:
        case tree.Funnel():
            return _funnel(question)
        case tree.Breakdown(segment, attribute):
            return _segment(segment).by(attribute)
        case tree.Trend(events, unit, window, prop):
            return _windowed(q.trend(*_events(events), unit=unit, of=prop or ""), window)
        case tree.Lifecycle(events, unit, window):
            return _windowed(q.lifecycle(*_events(events), unit=unit), window)
        case tree.Retention(entry, returns, unit, periods, window, start, mode):
            given = {"unit": unit, "periods": periods, "start": start.value, "mode": mode.value}
            return _windowed(q.retention(_set(entry), _set(returns), **given), window)
        case tree.Overlap(segments):
            return q.overlap(*map(_segment, segments))
        case tree.Diff(segment, start_at, end_at):
            return q.diff(_segment(segment), start_at.iso, end_at.iso)
        case tree.Distribution(segment, number):
            return q.distribution(
                _segment(segment), q.attr(number.name) if isinstance(number, tree.AttributeNumber) else _number(number)
            )
        case tree.Rfm(events, money, window):
            names, *filters = _events(events)
            return _windowed(q.rfm(names, money, *filters), window)
        case tree.Flow(events, depth, window, within, direction, anchor, only):
            return _windowed(
                q.flow(
                    *_events(events),
                    depth=depth,
                    within=None if within is None else str(within),
                    direction=direction.value,
                    anchor=anchor.value,
                    only=only,
                ),
                window,
            )
    return _segment(question)


def _funnel(report: tree.Funnel) -> Report:
    built = _rules(q.funnel(*_steps(report)), report).mode(report.mode.value)
    if report.by_attribute is not None:
        built.by(report.by_attribute)
    if report.by_entry is not None:
        built.by_entry(report.by_entry)
    return built.with_times() if report.times else built


def _segment(node: tree.Node) -> Segment:
    match node:
        case tree.Everyone():
            return q.everyone()
        case tree.All(items):
            return q.all_of(*map(_segment, items))
        case tree.Any(items):
            return q.any_of(*map(_segment, items))
        case tree.Not(item):
            return ~_segment(item)
        case tree.InSegment(name, version):
            return q.in_segment(name, version or 0)
        case tree.AttributeTest(name, condition):
            return _tested(q.attr(name), condition)
        case tree.BucketTest(first, last):
            return q.bucket(first, last)
        case tree.DistanceTest(name, latitude, longitude, op, metres):
            return _COMPARED[op](q.attr(name).distance(latitude, longitude), metres)
        case tree.WasTest(name, condition, window):
            return _tested(q.attr(name).was(**_window(window)), condition)
        case tree.ChangedTest(name, before, after, window):
            return q.attr(name).changed(_side(before), _side(after), **_window(window))
        case tree.UnchangedTest(name, span):
            return q.attr(name).unchanged(str(span))
        case tree.ValueAtTest(name, at, condition):
            return _tested(q.attr(name).value_at(at.iso if isinstance(at, tree.Moment) else str(at)), condition)
        case tree.SequenceTest():
            return _rules(q.sequence(*_steps(node)), node)
    return _about_events(node)


def _about_events(node: tree.Node) -> Segment:
    match node:
        case tree.Did(events, window):
            return _windowed(q.did(*_events(events)), window)
        case tree.CountTest(events, window, op, value, exclude_zero):
            counted = _windowed(q.count(*_events(events)), window)
            return _COMPARED[op](counted.exclude_zero() if exclude_zero else counted, value)
        case tree.AggregateTest(aggregate, prop, events, window, op, value):
            names, *filters = _events(events)
            number = _OF_PROPERTY[tree.Measured(aggregate.value)](names, prop, *filters)
            return _COMPARED[op](_windowed(number, window), value)
        case tree.ExpressionTest(left, op, right):
            return _COMPARED[op](_number(left), _number(right))
        case tree.OccurrenceTest(occurrence, events, window):
            time = q.first_time if occurrence is tree.Occurrence.FIRST else q.last_time
            return _windowed(time(*_events(events)), window)
        case tree.RecencyTest(events, op, duration, window):
            return _COMPARED[op](_windowed(q.recency(*_events(events)), window), str(duration))
        case tree.Inactive(duration):
            return q.inactive(str(duration))
        case tree.EdgeValueTest(edge, prop, events, window, condition):
            names, *filters = _events(events)
            value = (q.first_of if edge is tree.Edge.FIRST else q.last_of)(names, prop, *filters)
            return _tested(_windowed(value, window), condition)
        case tree.NthTest(events, number, where, window):
            return _windowed(q.nth(_set(events), number, *([] if where is None else [_filter(where)])), window)
        case tree.MostlyTest(prop, events, window, condition):
            names, *filters = _events(events)
            return _tested(_windowed(q.mostly(names, prop, *filters), window), condition)
        case tree.ShareTest(prop, events, window, condition, op, value):
            names, *filters = _events(events)
            return _COMPARED[op](_tested(_windowed(q.share(names, prop, *filters), window), condition), value)
        case tree.RegularlyTest(events, times, unit, periods, of_last):
            return q.regularly(*_events(events), times=times, per=unit, periods=periods, of_last=of_last)
        case tree.StoppedTest(events, earlier, later):
            return q.stopped(*_events(events), earlier=_window(earlier), later=_window(later))
        case tree.ResumedTest(events, gap):
            return q.resumed(*_events(events), gap=_window(gap))
    raise AssertionError(f"the builder has no form for {node}")


def _number(expression: tree.Expression) -> Any:
    match expression:
        case tree.Number(value):
            return q.number(value)
        case tree.Measure(function, events, prop, window):
            names, *filters = _events(events)
            if function in _PLAIN:
                return _windowed(_PLAIN[function](names, *filters), window)
            return _windowed(_OF_PROPERTY[function](names, prop or "", *filters), window)
        case tree.Arithmetic(op, left, right):
            return _CALCULATED[op](_number(left), _number(right))


def _events(events: tree.Events) -> list[Any]:
    """Names, then filters, as they are passed on."""
    names = events.names[0] if len(events.names) == 1 else list(events.names)
    return [names] if events.where is None else [names, _filter(events.where)]


def _set(events: tree.Events) -> q.Events:
    return q.Events(*_events(events))


def _filter(where: tree.Node) -> q.Filter:
    match where:
        case tree.All(items):
            return q.all_of(*map(_filter, items))
        case tree.Any(items):
            return q.any_of(*map(_filter, items))
        case tree.Not(item):
            return ~_filter(item)
        case tree.PropertyTest(name, condition):
            return _tested(q.prop(name), condition)
        case tree.HourTest(first, last):
            return q.hour(first, last)
        case tree.WeekdayTest(days):
            return q.weekday(*(tree.WEEKDAYS[day - 1] for day in days))
        case tree.DistanceTest(name, latitude, longitude, op, metres):
            return _COMPARED[op](q.prop(name).distance(latitude, longitude), metres)
    raise AssertionError(f"the builder has no filter for {where}")


def _tested(value: Tested, condition: tree.Condition) -> Any:
    match condition:
        case tree.Compare(tree.Op.EQ, literal, True):
            return value.equals(_literal(literal), ignore_case=True)
        case tree.Compare(tree.Op.NE, literal, True):
            return value.differs(_literal(literal), ignore_case=True)
        case tree.Compare(op, literal):
            return _COMPARED[op](value, _literal(literal))
        case tree.OneOf(literals, negated, ci):
            return (value.not_in if negated else value.is_in)(list(map(_literal, literals)), ignore_case=ci)
        case tree.Between(low, high):
            return value.between(_literal(low), _literal(high))
        case tree.TextTest(text_op, pattern, negated, ci):
            return getattr(value, ("not_" if negated else "") + text_op.value)(pattern, ignore_case=ci)
        case tree.ListTest(tree.ListOp.HAS, (only,)):
            return value.has(_literal(only))
        case tree.ListTest(list_op, literals):
            return getattr(value, list_op.value)(list(map(_literal, literals)))
        case tree.TimeTest(side, span):
            method = {
                "within last": value.within_last,
                "within next": value.within_next,
                "older than": value.older_than,
            }
            return method[side.value](str(span))
    assert isinstance(value, Value)
    return _tested_value(value, condition)


def _tested_value(value: Any, condition: tree.Condition) -> Any:
    match condition:
        case tree.Exists(negated):
            return value.missing() if negated else value.exists()
        case tree.SizeTest(op, size):
            return _COMPARED[op](value.size(), size)
        case tree.VersionTest(op, version):
            return _COMPARED[op](value.version(), version)
        case tree.Anniversary(first, last):
            return value.anniversary(str(first), str(last))
        case tree.ItemsTest(op, where):
            asked = {
                tree.ItemsOp.ANY: value.any_item,
                tree.ItemsOp.ALL: value.all_items,
                tree.ItemsOp.NONE: value.no_item,
            }
            return asked[op](_filter(where))
    raise AssertionError(f"the builder has no condition for {condition}")


def _literal(literal: tree.Literal) -> Any:
    return q.at(literal.iso) if isinstance(literal, tree.Moment) else literal


def _side(side: tree.ChangeSide | None) -> Any:
    if side is None:
        return None
    return q.UNSET if side.unset else list(map(_literal, side.values)) if side.values else q.SET


def _steps(node: tree.SequenceTest | tree.Funnel) -> list[Any]:
    steps: list[Any] = [_set(step) for step in node.steps]
    for excluded in reversed(node.rules.without):
        steps.insert(excluded.gap + 1, q.without(_set(excluded.events)))
    return steps


def _rules(built: Any, node: tree.SequenceTest | tree.Funnel) -> Any:
    rules = node.rules
    if node.within is not None:
        built.within(str(node.within))
    if rules.within_each is not None:
        built.within_each(str(rules.within_each))
    if node.strict_ties:
        built.strict_ties()
    if rules.hold is not None:
        built.hold(rules.hold)
    return _windowed(built.order(rules.order.value), node.window)


def _windowed(built: Any, window: tree.Window) -> Any:
    """The window set by the method of its name."""
    methods = {"between": "between_dates"}
    for name, value in _window(window).items():
        given = value if isinstance(value, tuple) else (value,)
        getattr(built, methods.get(name, name))(*given)
    return built


def _window(window: tree.Window) -> dict[str, Any]:
    match window:
        case tree.Always():
            return {}
        case tree.FromTo(start, end):
            return {"between": (start.iso, end.iso)}
        case tree.Before(moment):
            return {"before": moment.iso}
        case tree.After(moment):
            return {"after": moment.iso}
        case tree.Last(duration):
            return {"last": str(duration)}
        case tree.LastCalendar(duration):
            return {"last_calendar": str(duration)}
        case tree.DaysAgo(days):
            return {"days_ago": days}
        case tree.Ago(near, far):
            return {"ago": (str(near), str(far))}
        case tree.MoreThanAgo(duration):
            return {"more_than_ago": str(duration)}
        case tree.This(unit):
            return {"this": unit}
        case tree.Previous(unit):
            return {"previous": unit}
        case tree.WithinFirst(duration, names):
            return {"within_first": (str(duration), list(names))}
        case tree.Since(attribute):
            return {"since": attribute}
