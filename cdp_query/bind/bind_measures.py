"""Binding numeric expressions over events."""

from __future__ import annotations

from cdp_query import tree
from cdp_query.bind.binding import Binding
from cdp_query.bind.bound_measures import (
    BoundArithmetic,
    BoundExpression,
    BoundExpressionTest,
    BoundMeasure,
    measures_of,
)
from cdp_query.errors import QueryInvalid
from cdp_query.limits import EXPRESSION_TERMS_MAX


def bind_expression_test(node: tree.ExpressionTest, own: int, binding: Binding) -> BoundExpressionTest:
    """The bound comparison; QueryInvalid if it measures nothing or too much."""
    if terms_of(node.left) + terms_of(node.right) > EXPRESSION_TERMS_MAX:
        raise QueryInvalid(f"a comparison has more than {EXPRESSION_TERMS_MAX} numbers, measures and signs")
    left, right = _expression(node.left, binding), _expression(node.right, binding)
    if not measures_of(left) and not measures_of(right):
        raise QueryInvalid('a comparison of numbers must measure something, as in count("Buy") > 2')
    return BoundExpressionTest(own, left, node.op, right)


def bind_expression(expression: tree.Expression, binding: Binding) -> BoundExpression:
    """The bound form of an expression alone; QueryInvalid if it measures nothing or too much."""
    if terms_of(expression) > EXPRESSION_TERMS_MAX:
        raise QueryInvalid(f"an expression has more than {EXPRESSION_TERMS_MAX} numbers, measures and signs")
    bound = _expression(expression, binding)
    if not measures_of(bound):
        raise QueryInvalid('a number must be measured, as in count("Buy")')
    return bound


def terms_of(expression: tree.Expression) -> int:
    """Numbers, measures and signs of an expression."""
    count, stack = 0, [expression]
    while stack:
        part = stack.pop()
        count += 1
        if isinstance(part, tree.Arithmetic):
            stack += (part.left, part.right)
    return count


def _expression(expression: tree.Expression, binding: Binding) -> BoundExpression:
    match expression:
        case tree.Number():
            return expression
        case tree.Arithmetic(op, left, right):
            return BoundArithmetic(op, _expression(left, binding), _expression(right, binding))
        case tree.Measure(function, events, name, window):
            if (name is not None) != (function in tree.PROPERTY_MEASURES):
                takes = "needs a" if name is None else "takes no"
                raise QueryInvalid(f"{function.value}(...) {takes} property")
            key = None if name is None else binding.schema.properties.get(name)
            inside, interval = binding.windowed(events, window)
            return BoundMeasure(function, inside, key, interval, binding.context.tz)
