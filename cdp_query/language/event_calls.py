"""Calls about events that are neither counts nor aggregates, read and printed: when, in which order, which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.expressions import EventReader
from cdp_query.language.options import Options
from cdp_query.language.suggest import nearest_hint

TIME_CALLS: Final = ("hour", "weekday")
EVENT_CALLS: Final = (
    "recency",
    "inactive",
    "first",
    "last",
    "nth",
    "mostly",
    "share",
    "regularly",
    "stopped",
    "resumed",
    *TIME_CALLS,
)
_EXAMPLES: Final = {
    "recency": 'recency("App Launched") > 30d',
    "inactive": "inactive(30d)",
    "first": 'first("Buy".category) = "books"',
    "last": 'last("Buy".category) = "books"',
    "nth": 'nth("Buy", 2, amount > 100)',
    "mostly": 'mostly("View".category = "books", last: 30d)',
    "share": 'share("View".category = "books") >= 0.4',
    "regularly": 'regularly("App Launched", 2 per week, 3 of last 4)',
    "stopped": 'stopped("App Launched", ago: 30d..60d, last: 30d)',
    "resumed": 'resumed("App Launched", ago: 7d..60d)',
    "hour": "hour() in 9..17",
    "weekday": 'weekday() in ["sat", "sun"]',
}


FilterBuilder = Callable[[Sequence[syntax.Syntax]], tree.Node | None]


class EventCalls:
    """Builds the nodes of calls; `events` reads the event, property and options of one, `filters` joins filters."""

    def __init__(self, text: str, events: EventReader, filters: FilterBuilder) -> None:
        self._text, self._events, self._filters = text, events, filters

    def build(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        """The node of a call with the condition behind it, inside a segment."""
        match call.name:
            case "recency":
                return self._recency(call, condition)
            case "inactive":
                return self._inactive(call, condition)
            case "first" | "last":
                return self._edge_value(call, condition)
            case "nth":
                return self._nth(call, condition)
            case "mostly" | "share":
                return self._about_values(call, condition)
            case "regularly":
                return self._regularly(call, condition)
            case "stopped" | "resumed":
                return self._phases(call, condition)
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

    def _edge_value(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        if condition is None or isinstance(condition, syntax.CompareSyntax | syntax.SpanSyntax):
            self._wrong(call, "needs a condition behind it")
        events, prop, options = self._events(call)
        window = options.window()
        options.finish()
        if prop is None:
            self._wrong(call, "needs a property")
        return tree.EdgeValueTest(tree.Edge(call.name), prop, events, window, _infix(condition))

    def _nth(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        match call.arguments:
            case (syntax.ChainSyntax() as chain, syntax.ScalarSyntax(values=(int() as number,)), *rest) if (
                condition is None and not isinstance(number, bool)
            ):
                options = [item for item in rest if isinstance(item, syntax.OptionSyntax)]
                events, opened = self._events_alone(syntax.CallSyntax(call.name, (chain, *options), call.place))
                window = opened.window()
                opened.finish()
                filters = [item for item in rest if not isinstance(item, syntax.OptionSyntax)]
                return tree.NthTest(events, number, self._filters(self._plain(call, filters)), window)
        self._wrong(call, "takes an event and which one it is, then filters for that one")

    def _plain(self, call: syntax.CallSyntax, arguments: Sequence[syntax.ArgumentSyntax]) -> list[syntax.Syntax]:
        """The arguments, all of which must be filters."""
        plain = list[syntax.Syntax]()
        for argument in arguments:
            if not isinstance(
                argument, syntax.PredicateSyntax | syntax.AllSyntax | syntax.AnySyntax | syntax.NotSyntax
            ):
                self._wrong(call, "takes filters there")
            plain.append(argument)
        return plain

    def _about_values(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        match call.arguments:
            case (syntax.TestedSyntax(event, test), *rest) if event.property is not None and not isinstance(
                test, syntax.CompareSyntax | syntax.SpanSyntax
            ):
                chain = syntax.ChainSyntax((event,), event.place)
                events, prop, options = self._events(syntax.CallSyntax(call.name, (chain, *rest), call.place))
                window = options.window()
                options.finish()
                assert prop is not None
            case _:
                self._wrong(call, "takes a property of an event with a condition first")
        match condition:
            case None if call.name == "mostly":
                return tree.MostlyTest(prop, events, window, _infix(test))
            case tree.Compare(op, (int() | float()) as value, False) if (
                call.name == "share" and type(value) is not bool
            ):
                return tree.ShareTest(prop, events, window, _infix(test), op, value)
        self._wrong(call, "needs a comparison with a number" if call.name == "share" else "takes no comparison")

    def _regularly(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        rates = [item for item in call.arguments if isinstance(item, syntax.RateSyntax)]
        quotas = [item for item in call.arguments if isinstance(item, syntax.QuotaSyntax)]
        if condition is not None or len(rates) != 1 or len(quotas) != 1:
            self._wrong(call, "takes an event, how often, and in how many of the last periods")
        rate, quota = rates[0], quotas[0]
        if rate.unit not in tree.CALENDAR_UNITS:
            hint = nearest_hint(rate.unit, tree.CALENDAR_UNITS) or f"one of: {', '.join(tree.CALENDAR_UNITS)}"
            self._fail(rate.place, f"{rate.unit!r} is no unit of the calendar", hint)
        others = tuple(item for item in call.arguments if item not in (rate, quota))
        events, options = self._events_alone(syntax.CallSyntax(call.name, others, call.place))
        options.finish()
        return tree.RegularlyTest(events, rate.times, rate.unit, quota.count, quota.total)

    def _phases(self, call: syntax.CallSyntax, condition: syntax.ConditionSyntax | None) -> tree.Node:
        options = [item for item in call.arguments if isinstance(item, syntax.OptionSyntax)]
        windows = [self._window(call, group) for group in _windows(options)]
        wanted = 2 if call.name == "stopped" else 1
        if condition is not None or len(windows) != wanted:
            some = "two windows, the earlier one first" if wanted == 2 else "a window"
            self._wrong(call, f"takes an event and {some}")
        others = tuple(item for item in call.arguments if not isinstance(item, syntax.OptionSyntax))
        events, _ = self._events_alone(syntax.CallSyntax(call.name, others, call.place))
        return tree.StoppedTest(events, *windows) if wanted == 2 else tree.ResumedTest(events, windows[0])

    def _window(self, call: syntax.CallSyntax, given: Sequence[syntax.OptionSyntax]) -> tree.Window:
        options = Options(self._text, call, given)
        window = options.window()
        options.finish()
        return window

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


def _infix(condition: tree.Condition) -> tree.Infix:
    """A condition that stands behind its subject in the text, and so is never one of the calls."""
    assert not isinstance(condition, tree.Exists | tree.SizeTest | tree.VersionTest | tree.Anniversary | tree.ItemsTest)
    return condition


def _windows(options: Sequence[syntax.OptionSyntax]) -> list[list[syntax.OptionSyntax]]:
    """Options in groups of one window each: from with to, within with of_first, the others alone."""
    grouped = list[list[syntax.OptionSyntax]]()
    for option in options:
        pair = {grouped[-1][0].name, option.name} if grouped and len(grouped[-1]) == 1 else set[str]()
        if pair in ({"from", "to"}, {"within", "of_first"}):
            grouped[-1].append(option)
        else:
            grouped.append([option])
    return grouped


@dataclass(frozen=True, slots=True)
class EventPrinter:
    """Printers for the parts of a call: arguments, a condition after its subject, steps, filters, window, literals."""

    arguments: Callable[[tree.Events, str | None, tree.Window, Iterable[str]], str]
    infix: Callable[[str, tree.Infix], str]
    step: Callable[[tree.Events], str]
    filters: Callable[[tree.Node | None], list[str]]
    window: Callable[[tree.Window], list[str]]
    literal: Callable[[tree.Literal], str]

    def tested(self, node: tree.MostlyTest | tree.ShareTest) -> str:
        """A property with its condition, then filters and window."""
        named = self.arguments(tree.Events(node.events.names), node.property, tree.ALWAYS, ())
        first = self.infix(named, node.condition)
        return ", ".join([first, *self.filters(node.events.where), *self.window(node.window)])


def print_event_test(node: tree.EventTest | tree.TimeFilter, printer: EventPrinter) -> str:
    """Text of a call that `EventCalls` builds."""
    match node:
        case tree.RecencyTest(events, op, duration, window):
            return f"recency({printer.arguments(events, None, window, ())}) {op.value} {duration}"
        case tree.Inactive(duration):
            return f"inactive({duration})"
        case tree.EdgeValueTest(edge, prop, events, window, condition):
            return printer.infix(f"{edge.value}({printer.arguments(events, prop, window, ())})", condition)
        case tree.NthTest(events, number, where, window):
            parts = [printer.step(events), str(number), *printer.filters(where), *printer.window(window)]
            return f"nth({', '.join(parts)})"
        case tree.MostlyTest():
            return f"mostly({printer.tested(node)})"
        case tree.ShareTest(op=op, value=value):
            return f"share({printer.tested(node)}) {op.value} {printer.literal(value)}"
        case tree.RegularlyTest(events, times, unit, periods, of_last):
            often = [f"{times} per {unit}", f"{periods} of last {of_last}"]
            return f"regularly({printer.arguments(events, None, tree.ALWAYS, often)})"
        case tree.StoppedTest(events, earlier, later):
            return f"stopped({printer.arguments(events, None, earlier, printer.window(later))})"
        case tree.ResumedTest(events, gap):
            return f"resumed({printer.arguments(events, None, gap, ())})"
        case tree.HourTest(first, last):
            return f"hour() in {first}..{last}"
        case tree.WeekdayTest(days):
            return f"weekday() in [{', '.join(printer.literal(tree.WEEKDAYS[day - 1]) for day in sorted(days))}]"
