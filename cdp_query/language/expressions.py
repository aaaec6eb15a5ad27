"""Numeric expressions: their parts, and the comparison of two of them."""

from __future__ import annotations

from typing import Final

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Behind, Branch, Part, fail, halves
from cdp_query.language.calls import Call, Reader
from cdp_query.language.suggest import nearest_hint
from cdp_query.limits import EXPRESSION_TERMS_MAX

MEASURES: Final = {measured.value: measured for measured in tree.Measured}


def comparison(reader: Reader, left: Part, behind: Behind) -> tree.ExpressionTest:
    """The comparison left op right; an error if numbers have no such comparison."""
    _check_size(left, *(behind.children[1:2] if isinstance(behind, Branch) else ()))
    match behind:
        case tree.Compare(ci=True) | Branch("compare", [_, _, Token()]):
            fail(left, "ci compares strings; a number has no case")
        case Branch("compare", [Token(value=op), right, _]):
            worked_out = _expression(reader, right)
            return tree.ExpressionTest(_expression(reader, left), op, worked_out)
        case tree.Compare(op, (int() | float()) as value) if not isinstance(value, bool):
            return tree.ExpressionTest(_expression(reader, left), op, tree.Number(value))
    name = str(left.children[0]) if isinstance(left, Branch) and left.data == "call" else ""
    what = f"{name}(...)" if name else "a calculation"
    fail(left, f"{what} needs a comparison with a number", comparison_hint(name, behind))


def comparison_hint(name: str, behind: Behind) -> str:
    """Advice on a measure that is not compared with a number."""
    measured = MEASURES.get(name, tree.Measured.COUNT)
    example = f'{measured.value}("Buy"{".amount" if measured in tree.PROPERTY_MEASURES else ""})'
    if isinstance(behind, tree.Between):
        return f"compare twice, as in {example} >= 1 and {example} <= 5"
    return f"as in {example} >= 3"


def expression(reader: Reader, operand: Part) -> tree.Expression:
    """A number on its own."""
    _check_size(operand)
    return _expression(reader, operand)


def _check_size(*operands: Part) -> None:
    """Refuses a formula whose tree would be too deep to walk."""
    terms, stack = 0, [*operands]
    while stack:
        operand = stack.pop()
        terms += 1
        if terms > EXPRESSION_TERMS_MAX:
            fail(operand, f"a comparison has at most {EXPRESSION_TERMS_MAX} numbers, measures and signs")
        if isinstance(operand, Branch) and operand.data in ("sum", "product"):
            left, _, right = halves(operand)
            stack += (left, right)


def _expression(reader: Reader, operand: Part) -> tree.Expression:
    match operand:
        case Token("INTEGER" | "FLOAT", number):
            return tree.Number(number)
        case Branch("sum" | "product"):
            left, sign, right = halves(operand)
            return tree.Arithmetic(sign.value, _expression(reader, left), _expression(reader, right))
        case Branch("call", [name, *arguments]) if name in MEASURES:
            return _measure(reader, Call(name, arguments))
        case Branch("call", [name, *_]):
            hint = nearest_hint(name, MEASURES) or f"what gives a number: {', '.join(MEASURES)}"
            fail(operand, f"{name}(...) is not a number to calculate with", hint)
        case Token("NAME", name):
            hint = "a string is written in double quotes; an attribute is compared with a literal"
            if name.casefold() in ("true", "false"):
                hint = f"write {name.casefold()} in small letters"
            if name.casefold() in ("null", "none", "nil"):
                hint = "missing(plan) asks where an attribute is not set, exists(plan) where it is"
            fail(operand, f"{name!r} is not a value to compare or calculate with", hint)
        case Token("DURATION", duration):
            fail(operand, f"{duration} is not a number", 'what is compared with a duration is recency("Buy")')
    fail(operand, "a condition is not a number to calculate with")


def _measure(reader: Reader, call: Call) -> tree.Measure:
    function = MEASURES[call.name]
    events, prop, options = reader.events(call)
    window = options.window_alone()
    if function in tree.PROPERTY_MEASURES and prop is None:
        call.fail("needs a property", f'as in {call.name}("Charged".amount)')
    if function not in tree.PROPERTY_MEASURES and prop is not None:
        call.fail("takes no property")
    return tree.Measure(function, events, prop, window)
