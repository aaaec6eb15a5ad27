"""Calls about a profile: version, anniversary, distance, and the history of an attribute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn, Protocol

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.options import Options

VALUE_CALLS: Final = ("version", "anniversary", "distance")
HISTORY_CALLS: Final = ("was", "changed", "unchanged", "value_at")
_EXAMPLES: Final = {
    "version": 'version(app) >= "5.10.0"',
    "anniversary": "anniversary(birthday, 0d..7d)",
    "distance": "distance(home, 52.52, 13.405) <= 5000",
    "was": 'was(plan = "gold", last: 30d)',
    "changed": 'changed(plan, from: "gold", to: "silver", last: 30d)',
    "unchanged": "unchanged(plan, for: 30d)",
    "value_at": 'value_at(plan, 2026-01-31) = "gold"',
}

Argument = (
    syntax.Syntax
    | syntax.ChainSyntax
    | syntax.ScalarSyntax
    | syntax.TestedSyntax
    | syntax.RateSyntax
    | syntax.QuotaSyntax
)
Subject = Callable[[syntax.CallSyntax], str]


class SubjectTest(Protocol):
    """Builds a test of one value: an attribute's, or inside filters a property's."""

    def __call__(self, name: str, condition: tree.Condition) -> tree.Node: ...


class ProfileCalls:
    """Builds the nodes of calls: `subject` reads the name in a call, `test` and `node` build what is inside."""

    def __init__(
        self, text: str, subject: Subject, test: SubjectTest, node: Callable[[syntax.Syntax], tree.Node]
    ) -> None:
        self._text, self._subject, self._test, self._node = text, subject, test, node

    def build(self, call: syntax.CallSyntax, condition: tree.Condition | None) -> tree.Node:
        """The node of a call with the condition behind it."""
        options = Options(self._text, call, [item for item in call.arguments if isinstance(item, syntax.OptionSyntax)])
        arguments = [item for item in call.arguments if not isinstance(item, syntax.OptionSyntax)]
        if not arguments:
            self._wrong(call, "needs an attribute first")
        if call.name not in ("version", "distance", "value_at") and condition is not None:
            self._wrong(call, "is true or false and takes no comparison")
        match call.name:
            case "version":
                node = self._version(call, arguments, condition)
            case "anniversary":
                node = self._anniversary(call, arguments)
            case "distance":
                node = self._distance(call, arguments, condition)
            case "was":
                node = self._was(call, arguments, options)
            case "value_at":
                node = self._value_at(call, arguments, condition)
            case _:
                node = self._change(call, arguments, options)
        options.finish()
        return node

    def _version(
        self, call: syntax.CallSyntax, arguments: list[Argument], condition: tree.Condition | None
    ) -> tree.Node:
        name = self._name(call, arguments, 1)
        if not isinstance(condition, tree.Compare) or not isinstance(condition.value, str) or condition.ci:
            self._wrong(call, "needs a comparison with a version in quotes")
        return self._test(name, tree.VersionTest(condition.op, condition.value))

    def _anniversary(self, call: syntax.CallSyntax, arguments: list[Argument]) -> tree.Node:
        name = self._name(call, arguments, 2)
        match arguments[1]:
            case syntax.ScalarSyntax(values=(tree.Duration() as first, tree.Duration() as last)):
                return self._test(name, tree.Anniversary(first, last))
        self._wrong(call, "takes a range of days from today")

    def _distance(
        self, call: syntax.CallSyntax, arguments: list[Argument], condition: tree.Condition | None
    ) -> tree.Node:
        name = self._name(call, arguments, 3)
        latitude, longitude = (self._number(call, argument) for argument in arguments[1:])
        if not isinstance(condition, tree.Compare) or type(condition.value) not in (int, float):
            self._wrong(call, "needs a comparison with a number of metres")
        metres = condition.value
        assert isinstance(metres, int | float)
        return tree.DistanceTest(name, latitude, longitude, condition.op, metres)

    def _was(self, call: syntax.CallSyntax, arguments: list[Argument], options: Options) -> tree.Node:
        if len(arguments) == 2:
            name, value = self._name(call, arguments, 2), self._literal(call, arguments[1])
            return tree.WasTest(name, tree.Compare(tree.Op.EQ, value), options.window())
        if len(arguments) > 2:
            self._wrong(call, "takes one condition on an attribute")
        inner = self._attribute_test(call, arguments[0])
        return tree.WasTest(inner.name, inner.condition, options.window())

    def _value_at(
        self, call: syntax.CallSyntax, arguments: list[Argument], condition: tree.Condition | None
    ) -> tree.Node:
        match arguments:
            case [subject, syntax.ScalarSyntax(values=((tree.Moment() | tree.Duration()) as at,))]:
                if condition is not None:
                    return tree.ValueAtTest(self._name(call, arguments, 2), at, condition)
                match subject:
                    case syntax.PredicateSyntax(syntax.NameSyntax(), None):
                        self._wrong(call, "needs a condition behind it")
                inner = self._attribute_test(call, subject)
                return tree.ValueAtTest(inner.name, at, inner.condition)
        self._wrong(call, "takes a date, an instant, or how long ago")

    def _change(self, call: syntax.CallSyntax, arguments: list[Argument], options: Options) -> tree.Node:
        name = self._name(call, arguments, 1)
        if call.name == "changed":
            before, after = options.side("from"), options.side("to")
            return tree.ChangedTest(name, before, after, options.window(during=True))
        span = options.duration("for")
        if span is None:
            self._wrong(call, "needs `for:`")
        return tree.UnchangedTest(name, span)

    def _attribute_test(self, call: syntax.CallSyntax, argument: Argument) -> tree.AttributeTest:
        match argument:
            case syntax.PredicateSyntax() | syntax.AllSyntax() | syntax.AnySyntax() | syntax.NotSyntax():
                inner = self._node(argument)
                if isinstance(inner, tree.AttributeTest):
                    return inner
        self._wrong(call, "takes one condition on an attribute")

    def _name(self, call: syntax.CallSyntax, arguments: list[Argument], count: int) -> str:
        if len(arguments) != count:
            self._wrong(call, f"takes {'an attribute' if count == 1 else f'{count} arguments'}")
        match arguments[0]:
            case syntax.ChainSyntax(events=(syntax.EventSyntax(names=(name,), property=None, where=()),)):
                return name
        return self._subject(replace(call, arguments=(arguments[0],)))

    def _literal(self, call: syntax.CallSyntax, argument: Argument) -> tree.Literal:
        match argument:
            case syntax.ScalarSyntax(values=((bool() | int() | float() | tree.Moment()) as value,)):
                return value
            case syntax.ChainSyntax(events=(syntax.EventSyntax(names=(text,), property=None, where=()),)):
                return text
        self._wrong(call, "takes a value or a condition")

    def _number(self, call: syntax.CallSyntax, argument: Argument) -> float:
        match argument:
            case syntax.ScalarSyntax(values=((int() | float()) as number,)) if not isinstance(number, bool):
                return float(number)
        self._wrong(call, "takes a latitude and a longitude in degrees")

    def _wrong(self, call: syntax.CallSyntax, problem: str) -> NoReturn:
        place = call.place
        raise QuerySyntaxError(
            self._text, place.line, place.column, f"{call.name}(...) {problem}", f"as in {_EXAMPLES[call.name]}"
        )
