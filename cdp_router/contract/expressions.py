"""Numeric expressions on the wire: formulas in postfix order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.limits import EXPRESSION_TERMS_MAX
from cdp_router.contract.conditions import OPERATORS, from_number, to_literal
from cdp_router.contract.enums import known
from cdp_router.contract.windows import from_window, to_window
from cdp_router.errors import RequestInvalid

MEASURES: Final = {
    tree.Measured.COUNT: pb.MEASURE_FUNCTION_COUNT,
    tree.Measured.DAYS: pb.MEASURE_FUNCTION_DAYS,
    tree.Measured.STREAK: pb.MEASURE_FUNCTION_STREAK,
    tree.Measured.DISTINCT: pb.MEASURE_FUNCTION_DISTINCT,
    tree.Measured.SUM: pb.MEASURE_FUNCTION_SUM,
    tree.Measured.AVG: pb.MEASURE_FUNCTION_AVG,
    tree.Measured.MIN: pb.MEASURE_FUNCTION_MIN,
    tree.Measured.MAX: pb.MEASURE_FUNCTION_MAX,
    tree.Measured.MEDIAN: pb.MEASURE_FUNCTION_MEDIAN,
    tree.Measured.P95: pb.MEASURE_FUNCTION_P95,
}
# One of these against a number is the older, simpler test of the contract.
_AGGREGATES: Final = {
    tree.Measured.SUM: tree.Aggregate.SUM,
    tree.Measured.AVG: tree.Aggregate.AVG,
    tree.Measured.MIN: tree.Aggregate.MIN,
    tree.Measured.MAX: tree.Aggregate.MAX,
}
_ARITHMETIC: Final = {
    tree.ArithmeticOp.ADD: pb.ARITHMETIC_OPERATOR_ADD,
    tree.ArithmeticOp.SUBTRACT: pb.ARITHMETIC_OPERATOR_SUBTRACT,
    tree.ArithmeticOp.MULTIPLY: pb.ARITHMETIC_OPERATOR_MULTIPLY,
    tree.ArithmeticOp.DIVIDE: pb.ARITHMETIC_OPERATOR_DIVIDE,
}

ToEvents = Callable[[tree.Events], pb.EventSet]
FromEvents = Callable[[pb.EventSet, str], tree.Events]


def to_expression_test(node: tree.ExpressionTest, to_events: ToEvents) -> pb.ExpressionTest:
    """Message of a comparison of expressions."""
    left, right = (pb.Expression(terms=_terms(side, to_events)) for side in (node.left, node.right))
    return pb.ExpressionTest(left=left, operator=OPERATORS[node.op], right=right)


def from_expression_test(message: pb.ExpressionTest, path: str, from_events: FromEvents) -> tree.Node:
    """Comparison of a message; one count or sum against a number is the test of its own that it says."""
    left = _expression(message.left, f"{path}.left", from_events)
    op = known(OPERATORS, message.operator, f"{path}.operator")
    right = _expression(message.right, f"{path}.right", from_events)
    match left, right:
        case tree.Measure(tree.Measured.COUNT, events, None, window), tree.Number(value):
            return tree.CountTest(events, window, op, value)
        case tree.Measure(function, events, str() as name, window), tree.Number(value) if function in _AGGREGATES:
            return tree.AggregateTest(_AGGREGATES[function], name, events, window, op, value)
    return tree.ExpressionTest(left, op, right)


def to_expression(expression: tree.Expression, to_events: ToEvents) -> pb.Expression:
    """Message of an expression alone."""
    return pb.Expression(terms=_terms(expression, to_events))


def from_expression(message: pb.Expression, path: str, from_events: FromEvents) -> tree.Expression:
    """Expression of a message."""
    return _expression(message, path, from_events)


def _terms(expression: tree.Expression, to_events: ToEvents) -> Iterator[pb.Term]:
    match expression:
        case tree.Number(value):
            yield pb.Term(number=to_literal(value))
        case tree.Measure(function, events, name, window):
            measure = pb.Measure(
                function=MEASURES[function], events=to_events(events), property=name or "", window=to_window(window)
            )
            yield pb.Term(measure=measure)
        case tree.Arithmetic(op, left, right):
            yield from _terms(left, to_events)
            yield from _terms(right, to_events)
            yield pb.Term(operation=_ARITHMETIC[op])


def _expression(message: pb.Expression, path: str, from_events: FromEvents) -> tree.Expression:
    if not 1 <= len(message.terms) <= EXPRESSION_TERMS_MAX:
        raise RequestInvalid(f"{path}.terms", f"1 to {EXPRESSION_TERMS_MAX} terms")
    stack = list[tree.Expression]()
    for index, term in enumerate(message.terms):
        inner = f"{path}.terms[{index}]"
        match term.WhichOneof("form"):
            case "number":
                stack.append(tree.Number(from_number(term.number, f"{inner}.number")))
            case "measure":
                stack.append(_measure(term.measure, f"{inner}.measure", from_events))
            case "operation" if len(stack) >= 2:
                op = known(_ARITHMETIC, term.operation, f"{inner}.operation")
                right, left = stack.pop(), stack.pop()
                stack.append(tree.Arithmetic(op, left, right))
            case "operation":
                raise RequestInvalid(f"{inner}.operation", "joins the two terms before it, and there are fewer")
            case _:
                raise RequestInvalid(f"{inner}.form", "one of number, measure and operation must be given")
    if len(stack) != 1:
        raise RequestInvalid(f"{path}.terms", "terms are left over: postfix order ends with the last operation")
    return stack[0]


def _measure(message: pb.Measure, path: str, from_events: FromEvents) -> tree.Measure:
    function = known(MEASURES, message.function, f"{path}.function")
    if bool(message.property) != (function in tree.PROPERTY_MEASURES):
        problem = "must not be given for" if message.property else "must be given for"
        raise RequestInvalid(f"{path}.property", f"{problem} {function.value}")
    events = from_events(message.events, f"{path}.events")
    return tree.Measure(function, events, message.property or None, from_window(message.window, path))
