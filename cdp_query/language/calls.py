"""A call, and the parts that calls have in common: events, steps, filters, options, the name of a subject."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Behind, Branch, Part, fail, is_test, values
from cdp_query.language.options import Options

AGGREGATES: Final = {aggregate.value: aggregate for aggregate in tree.Aggregate}
ITEM_CALLS: Final = {op.value: op for op in tree.ItemsOp}
EVERYBODY: Final = ("all", "any", "anyone", "everybody", "users")  # not words of the language
_SEVERAL_NAMES: Final = "several names go into [...]"
_HINTS_ON_EVENTS: Final = {
    **dict.fromkeys(("sequence", "funnel"), 'steps are joined by ->, as in "A" -> "B"'),
    "retention": 'the event that users come back for goes after return:, as in return: "Charged"',
}


@dataclass(frozen=True, slots=True)
class Call:
    """name(arguments) with the condition after it; `in_filter` if it is in a filter of an event or item."""

    name: Token
    arguments: Sequence[Part]
    condition: Behind = None
    in_filter: bool = False
    example: str = ""

    def test(self, name: str, condition: tree.Condition) -> tree.Node:
        """A test of one value: an attribute's, or inside filters a property's."""
        return tree.PropertyTest(name, condition) if self.in_filter else tree.AttributeTest(name, condition)

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        """Refuses the call; its name begins the sentence."""
        fail(self.name, f"{self.name}(...) {problem}", hint)

    def wrong(self, problem: str) -> NoReturn:
        """Refuses the call and shows the example."""
        self.fail(problem, f"as in {self.example}")


class Reader(ABC):
    """Reads the parts that calls have in common; filters contain segments in turn, which `node` reads."""

    @abstractmethod
    def node(self, part: Part, *, in_filter: bool) -> tree.Node:
        """A segment, or a filter of an event or item."""

    def events(self, call: Call) -> tuple[tree.Events, str | None, Options]:
        """The event that a call begins with, its property, and the options."""
        event, filters, options = self.split(call)
        if event is None or event.data != "event":
            hint = f'as in {call.name}("Charged", ...)'
            match call.arguments:
                case [Token("NAME", name), *_]:
                    call_of = f'{call.name}("Charged".{name})' if call.name in AGGREGATES else f'{call.name}("{name}")'
                    hint = f"the names of events are written in double quotes, as in {call_of}"
                    if name.casefold() in EVERYBODY:
                        hint = f"{hint}; inactive(30d) looks at events of all names"
            call.fail("needs one event first", hint)
        prop = event.children[1]
        return self.event(event, filters), None if prop is None else prop.value, options

    def events_alone(self, call: Call) -> tuple[tree.Events, Options]:
        """The event and the options of a call that takes no property."""
        events, prop, options = self.events(call)
        if prop is not None:
            call.fail("takes no property")
        return events, options

    def steps(self, call: Call) -> tuple[tuple[tree.Events, ...], tuple[tree.Exclusion, ...], Options]:
        """Steps, the events that must not occur between them, and the options."""
        chain, filters, options = self.split(call)
        steps, without = list[Branch](), list[tuple[int, Branch]]()
        for link in chain.children if chain is not None and chain.data == "chain" else ():
            if link.data == "excluded":
                without.append((len(steps) - 1, link.children[1]))
            else:
                steps.append(link)
        if not steps:
            call.fail("needs two steps or more", f'as in {call.name}("View" -> "Buy")')
        if filters:
            fail(call.name, "filters belong to a step", 'as in sequence("View" -> "Buy"(amount > 10))')
        for event in (*steps, *(excluded for _, excluded in without)):
            if event.children[1] is not None:
                fail(event, "a step has no property")
        exclusions = tuple(tree.Exclusion(gap, self.event(excluded)) for gap, excluded in without)
        return tuple(self.event(event) for event in steps), exclusions, options

    def event(self, event: Branch, filters: Iterable[Part] = ()) -> tree.Events:
        """An event with its own filters and additional ones."""
        names, _, where = event.children
        return tree.Events(values(names), self.filter([*(where.children if where is not None else ()), *filters]))

    def filter(self, parts: Iterable[Part]) -> tree.Node | None:
        """Filters of an event as one, None if there are none."""
        tests = tuple(self.node(part, in_filter=True) for part in parts)
        return None if not tests else tests[0] if len(tests) == 1 else tree.All(tests)

    def split(self, call: Call) -> tuple[Branch | None, list[Part], Options]:
        """Arguments of a call by kind: event or chain of events, filters, options."""
        events: Branch | None = None
        filters, options = list[Part](), list[Branch]()
        for position, argument in enumerate(call.arguments):
            match argument:
                case Branch("event" | "chain"):
                    if position:
                        fail(argument, "events stand first", _HINTS_ON_EVENTS.get(call.name, _SEVERAL_NAMES))
                    events = argument
                case Branch("option"):
                    options.append(argument)
                case Branch("tested"):
                    hint = 'a filter is written after the event, as in did("Buy", amount > 3)'
                    if call.name in ("sequence", "funnel"):
                        hint = 'steps are joined by ->, as in "A" -> "B"(amount > 3)'
                    fail(argument, f"{call.name}(...) takes an event without a condition on it", hint)
                case _ if is_test(argument):
                    filters.append(argument)
                case _:
                    fail(argument, f"a value alone says nothing to {call.name}(...)", "write name = value")
        return events, filters, Options(call.name, options)

    def subject(self, call: Call) -> str:
        """The name in attr(...), or inside filters in prop(...)."""
        wanted = "prop" if call.in_filter else "attr"
        if call.name != wanted:
            call.fail("cannot stand here", f"use {wanted}(...)")
        match call.arguments:
            case [Branch("event", [Token(value=name), None, None])]:
                return str(name)
        call.fail("takes one name in quotes", f'as in {call.name}("Customer type")')

    def single_subject(self, call: Call) -> str:
        """The name that is the only argument of a call."""
        match call.arguments:
            case [Token("NAME", name)]:
                return str(name)
            case [Branch("call", [name, *arguments])]:
                return self.subject(Call(name, arguments, in_filter=call.in_filter))
        quoted = any(isinstance(part, Branch) and part.data in ("event", "chain") for part in call.arguments)
        wanted = "one name without quotes" if quoted else "one name"
        conditions = ', sku = "a"' if call.name in ITEM_CALLS else ""
        call.fail(f"takes {wanted}", f"as in {call.name}(plan{conditions})")
