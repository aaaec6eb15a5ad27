"""Calls about events other than counts and aggregates, read and printed: when, in which order, which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Behind, Branch, apart, condition, fail, is_test, kind
from cdp_query.language.calls import Call, Reader
from cdp_query.language.options import Options
from cdp_query.language.suggest import nearest_hint


def event_call(reader: Reader, call: Call) -> tree.Node:
    """The node of a call of EVENT_CALLS, or inside a filter of TIME_CALLS."""
    read, example = EVENT_CALLS[call.name]
    call = replace(call, example=example)
    return _time_filter(call) if call.in_filter else read(reader, call)


def _recency(reader: Reader, call: Call) -> tree.Node:
    match call.condition:
        case Branch("compare", [Token(value=op), Token("DURATION", duration), None]):
            events, options = reader.events_alone(call)
            return tree.RecencyTest(events, op, duration, options.window_alone())
    call.wrong("needs a comparison with a duration")


def _inactive(_: Reader, call: Call) -> tree.Node:
    match call.arguments:
        case [Token("DURATION", duration)] if call.condition is None:
            return tree.Inactive(duration)
    call.wrong("takes a duration, and no comparison")


def _edge_value(reader: Reader, call: Call) -> tree.Node:
    if call.condition is None or isinstance(call.condition, Branch):
        call.wrong("needs a condition after it")
    events, prop, options = reader.events(call)
    window = options.window_alone()
    if prop is None:
        call.wrong("needs a property")
    return tree.EdgeValueTest(tree.Edge(call.name), prop, events, window, call.condition)


def _nth(reader: Reader, call: Call) -> tree.Node:
    match call.arguments:
        case [Branch("event" | "chain") as event, Token("INTEGER", number), *rest] if call.condition is None:
            filters, given = apart(rest)
            events, options = reader.events_alone(replace(call, arguments=[event, *given]))
            window = options.window_alone()
            if not all(map(is_test, filters)):
                call.wrong("takes filters there")
            return tree.NthTest(events, number, reader.filter(filters), window)
    call.wrong("takes an event and which one it is, then filters for that one")


def _about_values(reader: Reader, call: Call) -> tree.Node:
    test: Behind = None
    match call.arguments:
        case [Branch("tested", [Branch("event", [_, Token(), _]) as event, behind]), *rest]:
            test = condition(behind)
    if test is None or isinstance(test, Branch):
        call.wrong("takes a property of an event with a condition first")
    events, prop, options = reader.events(replace(call, arguments=[event, *rest]))
    window = options.window_alone()
    assert prop is not None
    match call.condition:
        case None if call.name == "mostly":
            return tree.MostlyTest(prop, events, window, test)
        case tree.Compare(op, (int() | float()) as value, False) if call.name == "share" and type(value) is not bool:
            return tree.ShareTest(prop, events, window, test, op, value)
    call.wrong("needs a comparison with a number" if call.name == "share" else "takes no comparison")


def _regularly(reader: Reader, call: Call) -> tree.Node:
    rates = [item for item in call.arguments if kind(item) == "rate"]
    quotas = [item for item in call.arguments if kind(item) == "quota"]
    match rates, quotas:
        case [Branch(children=[times, unit]) as rate], [Branch(children=[periods, of_last])] if call.condition is None:
            pass
        case _:
            call.wrong("takes an event, how often, and in how many of the last periods")
    if unit not in tree.CALENDAR_UNITS:
        hint = nearest_hint(unit, tree.CALENDAR_UNITS) or f"one of: {', '.join(tree.CALENDAR_UNITS)}"
        fail(rate, f"{unit.value!r} is not a unit of the calendar", hint)
    others = [item for item in call.arguments if kind(item) not in ("rate", "quota")]
    events, options = reader.events_alone(replace(call, arguments=others))
    options.finish()
    return tree.RegularlyTest(events, times.value, unit.value, periods.value, of_last.value)


def _phases(reader: Reader, call: Call) -> tree.Node:
    others, given = apart(call.arguments)
    windows = [Options(call.name, group).window_alone() for group in _windows(given)]
    wanted = 2 if call.name == "stopped" else 1
    if call.condition is not None or len(windows) != wanted:
        some = "two windows, the earlier one first" if wanted == 2 else "a window"
        call.wrong(f"takes an event and {some}")
    events, _ = reader.events_alone(replace(call, arguments=others))
    return tree.StoppedTest(events, *windows) if wanted == 2 else tree.ResumedTest(events, windows[0])


def _windows(options: Sequence[Branch]) -> list[list[Branch]]:
    """Options in groups of one window each: from with to, within with of_first, others on their own."""
    grouped = list[list[Branch]]()
    for option in options:
        pair = {str(each.children[0]) for each in (grouped[-1][0], option)} if grouped and len(grouped[-1]) == 1 else {}
        if pair in ({"from", "to"}, {"within", "of_first"}):
            grouped[-1].append(option)
        else:
            grouped.append([option])
    return grouped


def _at_times(reader: Reader, call: Call) -> tree.Node:
    events, options = reader.events_alone(call)
    window, at_time = options.window_alone(), _time_test(call)
    where = at_time if events.where is None else tree.All((*_conjuncts(events.where), at_time))
    return tree.Did(tree.Events(events.names, where), window)


def _conjuncts(where: tree.Node) -> tuple[tree.Node, ...]:
    return where.items if isinstance(where, tree.All) else (where,)


def _time_filter(call: Call) -> tree.Node:
    if call.arguments:
        call.wrong("takes nothing in its parentheses inside an event filter")
    return _time_test(call)


def _time_test(call: Call) -> tree.Node:
    test: tree.TimeFilter
    match call.name, call.condition:
        case "hour", Branch("span", [negation, Token(value=first), Token(value=last)]):
            test, negated = tree.HourTest(first, last), negation is not None
        case "hour", _:
            call.wrong("needs a range of hours")
        case _, tree.OneOf(values, negated, False):
            test = tree.WeekdayTest(frozenset(_weekday(call, value) for value in values))
        case _, tree.Compare(tree.Op.EQ | tree.Op.NE as op, value, False):
            test, negated = tree.WeekdayTest(frozenset({_weekday(call, value)})), op is tree.Op.NE
        case _:
            call.wrong("needs days to be one of")
    return tree.Not(test) if negated else test


def _weekday(call: Call, value: tree.Literal) -> int:
    if isinstance(value, str) and value.lower() in tree.WEEKDAYS:
        return tree.WEEKDAYS.index(value.lower()) + 1
    hint = nearest_hint(str(value), tree.WEEKDAYS) or f"one of: {', '.join(tree.WEEKDAYS)}"
    fail(call.name, f"{value!r} is not a day of the week", hint)


TIME_CALLS: Final = ("hour", "weekday")
EVENT_CALLS: Final[dict[str, tuple[Callable[[Reader, Call], tree.Node], str]]] = {
    "recency": (_recency, 'recency("App Launched") > 30d'),
    "inactive": (_inactive, "inactive(30d)"),
    "first": (_edge_value, 'first("Buy".category) = "books"'),
    "last": (_edge_value, 'last("Buy".category) = "books"'),
    "nth": (_nth, 'nth("Buy", 2, amount > 100)'),
    "mostly": (_about_values, 'mostly("View".category = "books", last: 30d)'),
    "share": (_about_values, 'share("View".category = "books") >= 0.4'),
    "regularly": (_regularly, 'regularly("App Launched", 2 per week, 3 of last 4)'),
    "stopped": (_phases, 'stopped("App Launched", ago: 30d..60d, last: 30d)'),
    "resumed": (_phases, 'resumed("App Launched", ago: 7d..60d)'),
    "hour": (_at_times, "hour() in 9..17"),
    "weekday": (_at_times, 'weekday() in ["sat", "sun"]'),
}


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
    """Text of a call of EVENT_CALLS."""
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
