"""Calls about events that are neither counts nor aggregates: recency, inactivity, and an event's local time."""

from __future__ import annotations

from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.expressions import EventReader
from cdp_query.language.options import Options
from cdp_query.language.suggest import nearest_hint

TIME_CALLS: Final = ("hour", "weekday")
EVENT_CALLS: Final = ("recency", "inactive", *TIME_CALLS)
_EXAMPLES: Final = {
    "recency": 'recency("App Launched") > 30d',
    "inactive": "inactive(30d)",
    "hour": "hour() in 9..17",
    "weekday": 'weekday() in ["sat", "sun"]',
}


class EventCalls:
    """Builds the nodes of calls; `events` reads the event, property and options of one."""

    def __init__(self, text: str, events: EventReader) -> None:
        self._text, self._events = text, events

    def build(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        """The node of a call with the condition behind it, inside a segment."""
        match call.name:
            case "recency":
                return self._recency(call, condition)
            case "inactive":
                return self._inactive(call, condition)
        events, options = self._events_alone(call)
        window = options.window()
        options.finish()
        at_time = self._time_filter(call, condition)
        where = at_time if events.where is None else tree.All((*_conjuncts(events.where), at_time))
        return tree.Did(tree.Events(events.names, where), window)

    def time_filter(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        """hour() or weekday() inside an event filter."""
        if call.arguments:
            self._wrong(call, "takes nothing in its parentheses inside an event filter")
        return self._time_filter(call, condition)

    def _recency(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        match condition:
            case syntax.CompareSyntax(op, syntax.DurationSyntax(duration), False):
                events, options = self._events_alone(call)
                window = options.window()
                options.finish()
                return tree.RecencyTest(events, op, duration, window)
        self._wrong(call, "needs a comparison with a duration")

    def _inactive(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        match call.arguments:
            case (syntax.ScalarSyntax(values=(tree.Duration() as duration,)),) if condition is None:
                return tree.Inactive(duration)
        self._wrong(call, "takes a duration, and no comparison")

    def _time_filter(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        if call.name == "hour":
            match condition:
                case syntax.SpanSyntax(first, last, negated):
                    test = tree.HourTest(first, last)
                    return tree.Not(test) if negated else test
            self._wrong(call, "needs a range of hours")
        match condition:
            case tree.OneOf(values, negated, False):
                days = frozenset(self._weekday(call, value) for value in values)
            case tree.Compare(tree.Op.EQ | tree.Op.NE as op, value, False):
                days, negated = frozenset({self._weekday(call, value)}), op is tree.Op.NE
            case _:
                self._wrong(call, "needs days to be one of")
        on_day = tree.WeekdayTest(days)
        return tree.Not(on_day) if negated else on_day

    def _weekday(self, call: syntax.CallSyntax, value: tree.Literal) -> int:
        if isinstance(value, str) and value.lower() in tree.WEEKDAYS:
            return tree.WEEKDAYS.index(value.lower()) + 1
        hint = nearest_hint(str(value), tree.WEEKDAYS) or f"one of: {', '.join(tree.WEEKDAYS)}"
        self._fail(call.place, f"{value!r} is no day of the week", hint)

    def _events_alone(self, call: syntax.CallSyntax) -> tuple[tree.Events, Options]:
        events, prop, options = self._events(call)
        if prop is not None:
            self._fail(call.place, f"{call.name}(...) takes no property")
        return events, options

    def _wrong(self, call: syntax.CallSyntax, problem: str) -> NoReturn:
        self._fail(call.place, f"{call.name}(...) {problem}", f"as in {_EXAMPLES[call.name]}")

    def _fail(self, place: syntax.Place, problem: str, hint: str = "") -> NoReturn:
        raise QuerySyntaxError(self._text, place.line, place.column, problem, hint)


def _conjuncts(where: tree.Node) -> tuple[tree.Node, ...]:
    return where.items if isinstance(where, tree.All) else (where,)
