"""Syntax to numeric expressions: what can be calculated with, and the comparison of two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.options import Options
from cdp_query.language.suggest import nearest_hint
from cdp_query.limits import EXPRESSION_TERMS_MAX

MEASURES: Final = {measured.value: measured for measured in tree.Measured}
EventReader = Callable[[syntax.CallSyntax], tuple[tree.Events, str | None, Options]]


class ExpressionBuilder:
    """Builds the expressions of one text; `events` reads the event, property and options of a call."""

    def __init__(self, text: str, events: EventReader) -> None:
        self._text, self._events = text, events

    def test(self, left: syntax.OperandSyntax, condition: syntax.ConditionSyntax | None) -> tree.ExpressionTest:
        """left op right; fails where there is no such comparison of numbers."""
        self._check_size(left, condition.right if isinstance(condition, syntax.CompareSyntax) else None)
        if isinstance(condition, syntax.CompareSyntax | tree.Compare) and condition.ci:
            self._fail(left.place, "ci compares strings; a number has no case")
        match condition:
            case syntax.CompareSyntax(op, right):
                worked_out = self._expression(right)
                return tree.ExpressionTest(self._expression(left), op, worked_out)
            case tree.Compare(op, value) if type(value) in (int, float):
                assert isinstance(value, int | float)
                return tree.ExpressionTest(self._expression(left), op, tree.Number(value))
        name = left.name if isinstance(left, syntax.CallSyntax) else ""
        what = f"{name}(...)" if name else "a calculation"
        self._fail(left.place, f"{what} needs a comparison with a number", comparison_hint(name, condition))

    def expression(self, operand: syntax.OperandSyntax) -> tree.Expression:
        """A number that stands alone."""
        self._check_size(operand)
        return self._expression(operand)

    def _check_size(self, *operands: syntax.OperandSyntax | None) -> None:
        """Refuse a formula whose tree would be too deep to walk."""
        terms, stack = 0, [operand for operand in operands if operand is not None]
        while stack:
            operand = stack.pop()
            terms += 1
            if terms > EXPRESSION_TERMS_MAX:
                self._fail(
                    operand.place, f"a comparison has at most {EXPRESSION_TERMS_MAX} numbers, measures and signs"
                )
            if isinstance(operand, syntax.CalculationSyntax):
                stack += (operand.left, operand.right)

    def _expression(self, operand: syntax.OperandSyntax) -> tree.Expression:
        match operand:
            case syntax.NumberSyntax(value):
                return tree.Number(value)
            case syntax.CalculationSyntax(op, left, right):
                return tree.Arithmetic(op, self._expression(left), self._expression(right))
            case syntax.CallSyntax(name) if name in MEASURES:
                return self._measure(operand)
            case syntax.CallSyntax(name):
                hint = nearest_hint(name, MEASURES) or f"what gives a number: {', '.join(MEASURES)}"
                self._fail(operand.place, f"{name}(...) gives no number to calculate with", hint)
            case syntax.NameSyntax(name):
                hint = "a string stands in double quotes; an attribute is compared with a literal"
                if name.casefold() in ("true", "false"):
                    hint = f"write {name.casefold()} in small letters"
                if name.casefold() in ("null", "none", "nil"):
                    hint = "missing(plan) asks where an attribute is not set, exists(plan) where it is"
                self._fail(operand.place, f"{name!r} is no value to compare or calculate with", hint)
            case syntax.DurationSyntax(duration):
                hint = 'what is compared with a duration is recency("Buy")'
                self._fail(operand.place, f"{duration} is no number", hint)
        self._fail(operand.place, "a condition gives no number to calculate with")

    def _measure(self, call: syntax.CallSyntax) -> tree.Measure:
        function = MEASURES[call.name]
        events, prop, options = self._events(call)
        window = options.window()
        options.finish()
        if function in tree.PROPERTY_MEASURES and prop is None:
            self._fail(call.place, f"{call.name}(...) needs a property", f'as in {call.name}("Charged".amount)')
        if function not in tree.PROPERTY_MEASURES and prop is not None:
            self._fail(call.place, f"{call.name}(...) takes no property")
        return tree.Measure(function, events, prop, window)

    def _fail(self, place: syntax.Place, problem: str, hint: str = "") -> NoReturn:
        raise QuerySyntaxError(self._text, place.line, place.column, problem, hint)


def comparison_hint(name: str, condition: syntax.ConditionSyntax | None) -> str:
    """An example of a comparison, for a measure that is not compared with a number."""
    measured = MEASURES.get(name, tree.Measured.COUNT)
    example = f'{measured.value}("Buy"{".amount" if measured in tree.PROPERTY_MEASURES else ""})'
    if isinstance(condition, tree.Between):
        return f"compare twice, as in {example} >= 1 and {example} <= 5"
    return f"as in {example} >= 3"
