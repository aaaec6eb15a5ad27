"""Tree to canonical text, which `parse` turns into the same tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from cdp_query import tree
from cdp_query.language.event_calls import EventPrinter, print_event_test

_PLAIN: Final = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")
_CALLS: Final = (tree.Exists, tree.SizeTest, tree.VersionTest, tree.Anniversary, tree.ItemsTest)
_RESERVED: Final = frozenset(
    [
        "and",
        "or",
        "not",
        "in",
        "between",
        "contains",
        "starts_with",
        "ends_with",
        "matches",
        "has",
        "has_any",
        "has_all",
        "has_none",
        "true",
        "false",
        "ci",
        "everyone",
        "bucket",
    ]
)


def print_segment(question: tree.Node | tree.Funnel | tree.Breakdown) -> str:
    """Canonical text of a segment or funnel; a Breakdown prints as its segment."""
    match question:
        case tree.Funnel():
            return _sequence("funnel", question)
        case tree.Breakdown(segment):
            return _node(segment)
    return _node(question)


def print_events(events: tree.Events) -> str:
    """Text of events in an option, with the filter in parentheses."""
    return _step(events)


def print_names(names: tuple[str, ...]) -> str:
    """Text of one name, or of a list of names."""
    return _names(names)


def print_attribute(name: str) -> str:
    """Text of an attribute without a condition."""
    return _subject(name, "attr")


def print_expression(expression: tree.Expression) -> str:
    """Text of a number to be measured."""
    return _expression(expression)


def print_arguments(
    events: tree.Events,
    prop: str | None = None,
    window: tree.Window = tree.ALWAYS,
    extra: Iterable[str] = (),
    length: str = "within",
) -> str:
    """Text of the arguments of a function over events: events, property, filters, window, further options.

    `length` is the option for how long after the `of_first` a window reaches.
    """
    return ", ".join([*_selected(events, prop), *_window(window, length), *extra])


def _node(node: tree.Node) -> str:
    match node:
        case tree.All(items):
            return _joined(" and ", items, tree.All)
        case tree.Any(items):
            return _joined(" or ", items, tree.Any)
        case tree.Not(item):
            return f"not {_nested(item)}"
        case tree.Everyone():
            return "everyone"
        case tree.AttributeTest(name, condition):
            return _test(name, condition, "attr")
        case tree.PropertyTest(name, condition):
            return _test(name, condition, "prop")
        case tree.Did(events, window):
            return f"did({_arguments(events, None, window)})"
        case tree.CountTest(events, window, op, value, exclude_zero):
            extra = ["zero: exclude"] if exclude_zero else []
            return f"count({_arguments(events, None, window, extra)}) {op.value} {_literal(value)}"
        case tree.AggregateTest(aggregate, prop, events, window, op, value):
            return f"{aggregate.value}({_arguments(events, prop, window)}) {op.value} {_literal(value)}"
        case tree.OccurrenceTest(occurrence, events, window):
            return f"{occurrence.value}({_arguments(events, None, window)})"
        case tree.ExpressionTest(left, op, right):
            return f"{_expression(left)} {op.value} {_expression(right)}"
        case tree.SequenceTest():
            return _sequence("sequence", node)
        case tree.DistanceTest(name, latitude, longitude, op, metres):
            return f"distance({_word(name)}, {latitude!r}, {longitude!r}) {op.value} {_literal(metres)}"
        case tree.BucketTest(first, last):
            return f"bucket between {first} and {last}"
        case tree.InSegment(name, version):
            pinned = "" if version is None else f", version: {version}"
            return f"in_segment({_literal(name)}{pinned})"
    if isinstance(node, tree.HistoryTest):
        return _history(node)
    return print_event_test(node, _EVENT_PRINTER)


def _history(node: tree.HistoryTest) -> str:
    subject = _subject(node.name, "attr")
    match node:
        case tree.WasTest(name, condition, window):
            return f"was({', '.join([_test(name, condition, 'attr'), *_window(window)])})"
        case tree.ChangedTest(_, before, after, window):
            sides = [*_side("from", before), *_side("to", after)]
            dates = [f"during: {window.start.iso}..{window.end.iso}"] if isinstance(window, tree.FromTo) else None
            return f"changed({', '.join([subject, *sides, *(dates or _window(window))])})"
        case tree.UnchangedTest(_, span):
            return f"unchanged({subject}, for: {span})"
        case tree.ValueAtTest(_, at, condition):
            instant = at.iso if isinstance(at, tree.Moment) else str(at)
            if isinstance(condition, _CALLS):
                return f"value_at({_test(node.name, condition, 'attr')}, {instant})"
            return _infix(f"value_at({subject}, {instant})", condition)


def _side(name: str, side: tree.ChangeSide | None) -> list[str]:
    match side:
        case None:
            return []
        case tree.ChangeSide(values=(only,)):
            return [f"{name}: {_literal(only)}"]
        case tree.ChangeSide(values=()):
            return [f"{name}: {'unset' if side.unset else 'set'}"]
    return [f"{name}: {_list(side.values)}"]


def _expression(expression: tree.Expression) -> str:
    match expression:
        case tree.Number(value):
            return _literal(value)
        case tree.Measure(function, events, prop, window):
            return f"{function.value}({_arguments(events, prop, window)})"
        case tree.Arithmetic(op, left, right):
            strength = _strength(expression)
            parts = (_expression(part) for part in (left, right))
            # Equal precedence groups to the left, so only a right side needs parentheses then.
            weak = (_strength(left) < strength, _strength(right) <= strength)
            first, second = (f"({text})" if loose else text for text, loose in zip(parts, weak, strict=True))
            return f"{first} {op.value} {second}"


def _strength(expression: tree.Expression) -> int:
    if not isinstance(expression, tree.Arithmetic):
        return 3
    return 2 if expression.op in (tree.ArithmeticOp.MULTIPLY, tree.ArithmeticOp.DIVIDE) else 1


def _joined(word: str, items: tuple[tree.Node, ...], kind: type[tree.Node]) -> str:
    if len(items) < 2:
        # A group of one has no text of its own; binding treats it as its item.
        return _nested(items[0]) if items else "everyone" if kind is tree.All else "not everyone"
    return word.join(_nested(item) for item in items)


def _nested(node: tree.Node) -> str:
    text = _node(node)
    return f"({text})" if isinstance(node, tree.All | tree.Any) and len(node.items) > 1 else text


def _sequence(name: str, node: tree.SequenceTest | tree.Funnel) -> str:
    options = _window(node.window, "for")
    if node.within is not None:
        options.insert(0, f"within: {node.within}")
    if node.strict_ties:
        options.append("tie: strict")
    options += _rules(node.rules)
    if isinstance(node, tree.Funnel):
        options += _counting(node)
    chain = [_step(step) for step in node.steps]
    for excluded in reversed(node.rules.without):
        chain.insert(excluded.gap + 1, f"without {_step(excluded.events)}")
    return f"{name}({', '.join([' -> '.join(chain), *options])})"


def _rules(rules: tree.AttemptRules) -> list[str]:
    options = [] if rules.within_each is None else [f"within_each: {rules.within_each}"]
    if rules.order is not tree.StepOrder.ORDERED:
        options.append(f"order: {rules.order.value}")
    return options if rules.hold is None else [*options, f"hold: {_word(rules.hold)}"]


def _counting(report: tree.Funnel) -> list[str]:
    options = [] if report.mode is tree.AttemptMode.DEEPEST else [f"mode: {report.mode.value}"]
    for name, group in (("by", report.by_attribute), ("by_entry", report.by_entry)):
        if group is not None:
            options.append(f"{name}: {_word(group)}")
    return [*options, "times: on"] if report.times else options


def _step(events: tree.Events) -> str:
    return _names(events.names) + (f"({_node(events.where)})" if events.where is not None else "")


def _arguments(events: tree.Events, prop: str | None, window: tree.Window, extra: Iterable[str] = ()) -> str:
    return ", ".join([*_selected(events, prop), *_window(window), *extra])


def _selected(events: tree.Events, prop: str | None) -> list[str]:
    return [_names(events.names) + (f".{_word(prop)}" if prop is not None else ""), *_filters(events.where)]


def _filters(where: tree.Node | None) -> list[str]:
    if where is None:
        return []
    if isinstance(where, tree.All) and len(where.items) > 1:
        return [_node(item) for item in where.items]
    return [_node(where)]


def _names(names: tuple[str, ...]) -> str:
    return json.dumps(names[0], ensure_ascii=False) if len(names) == 1 else _list(names)


def _word(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED else json.dumps(name, ensure_ascii=False)


def _subject(name: str, function: str) -> str:
    word = _word(name)
    return f"{function}({word})" if word.startswith('"') else word


def _test(name: str, condition: tree.Condition, function: str) -> str:
    subject = _subject(name, function)
    match condition:
        case tree.Exists(negated):
            return f"{'missing' if negated else 'exists'}({subject})"
        case tree.SizeTest(op, size):
            return f"size({subject}) {op.value} {size}"
        case tree.VersionTest(op, version):
            return f"version({subject}) {op.value} {_literal(version)}"
        case tree.Anniversary(first, last):
            return f"anniversary({subject}, {first}..{last})"
        case tree.ItemsTest(items_op, where):
            return f"{items_op.value}({', '.join([subject, *_filters(where)])})"
    return _infix(subject, condition)


def _infix(subject: str, condition: tree.Infix) -> str:
    match condition:
        case tree.Compare(op, value, ci):
            return f"{subject} {op.value} {_literal(value)}{_ci(ci)}"
        case tree.OneOf(values, negated, ci):
            return f"{subject} {'not ' if negated else ''}in {_list(values)}{_ci(ci)}"
        case tree.Between(low, high):
            return f"{subject} between {_literal(low)} and {_literal(high)}"
        case tree.TextTest(op, pattern, negated, ci):
            return f"{subject} {'not ' if negated else ''}{op.value} {_literal(pattern)}{_ci(ci)}"
        case tree.ListTest(op, values):
            return f"{subject} {op.value} {_literal(values[0]) if op is tree.ListOp.HAS else _list(values)}"
        case tree.TimeTest(side, span):
            return f"{subject} {side.value} {span}"


def _ci(ci: bool) -> str:
    return " ci" if ci else ""


def _list(values: tuple[tree.Literal, ...]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


def _literal(value: tree.Literal) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tree.Moment(iso):
            return iso
        case str():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _window(window: tree.Window, length: str = "within") -> list[str]:
    match window:
        case tree.Always():
            return []
        case tree.FromTo(start, end):
            return [f"from: {start.iso}", f"to: {end.iso}"]
        case tree.Before(moment):
            return [f"before: {moment.iso}"]
        case tree.After(moment):
            return [f"after: {moment.iso}"]
        case tree.Last(duration):
            return [f"last: {duration}"]
        case tree.LastCalendar(duration):
            return [f"last_calendar: {duration}"]
        case tree.DaysAgo(days):
            return [f"days_ago: {days}"]
        case tree.Ago(near, far):
            return [f"ago: {near}..{far}"]
        case tree.MoreThanAgo(duration):
            return [f"more_than_ago: {duration}"]
        case tree.This(unit):
            return [f"this: {unit}"]
        case tree.Previous(unit):
            return [f"previous: {unit}"]
        case tree.WithinFirst(duration, names):
            return [f"{length}: {duration}", f"of_first: {_names(names)}"]
        case tree.Since(attribute):
            return [f"since: {_word(attribute)}"]


_EVENT_PRINTER: Final = EventPrinter(_arguments, _infix, _step, _filters, _window, _literal)
