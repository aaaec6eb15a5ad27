"""Numeric expressions on the wire: formulas in postfix order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.limits import EXPRESSION_TERMS_MAX
from cdp_router.contract.fieldwise import Codecs
from cdp_router.contract.oneofs import Codec
from cdp_router.errors import RequestInvalid

# One of these against a number is an older, simpler test of the contract.
_AGGREGATES: Final = {
    tree.Measured.SUM: tree.Aggregate.SUM,
    tree.Measured.AVG: tree.Aggregate.AVG,
    tree.Measured.MIN: tree.Aggregate.MIN,
    tree.Measured.MAX: tree.Aggregate.MAX,
}


def finish_expression_test(test: tree.ExpressionTest, _path: str) -> tree.Node:
    """Replaces a comparison of one count or sum with a number by its own test."""
    match test.left, test.right:
        case tree.Measure(tree.Measured.COUNT, events, None, window), tree.Number(value):
            return tree.CountTest(events, window, test.op, value)
        case tree.Measure(function, events, str() as name, window), tree.Number(value) if function in _AGGREGATES:
            return tree.AggregateTest(_AGGREGATES[function], name, events, window, test.op, value)
    return test


def expressions(codecs: Codecs, _kind: Any) -> Codec:
    """The codec of expressions."""
    terms, measures = pb.Term.DESCRIPTOR.fields_by_name, pb.Measure.DESCRIPTOR.fields_by_name
    numbers = codecs.of_value(int | float, terms["number"])
    measured = codecs.of_value(tree.Measure, terms["measure"])
    functions = codecs.of_value(tree.Measured, measures["function"])
    operations = codecs.of_value(tree.ArithmeticOp, terms["operation"])

    def to_terms(expression: tree.Expression) -> Iterator[pb.Term]:
        match expression:
            case tree.Number(value):
                yield pb.Term(number=numbers.write(value))
            case tree.Measure():
                yield pb.Term(measure=measured.write(expression))
            case tree.Arithmetic(op, left, right):
                yield from to_terms(left)
                yield from to_terms(right)
                yield pb.Term(operation=operations.write(op))

    def from_measure(message: pb.Measure, path: str, depth: int) -> Any:
        function = functions.read(message.function, f"{path}.function", depth)
        if bool(message.property) != (function in tree.PROPERTY_MEASURES):
            problem = "must not be given for" if message.property else "must be given for"
            raise RequestInvalid(f"{path}.property", f"{problem} {function.value}")
        return measured.read(message, path, depth)

    def from_terms(message: pb.Expression, path: str, depth: int) -> tree.Expression:
        if not 1 <= len(message.terms) <= EXPRESSION_TERMS_MAX:
            raise RequestInvalid(f"{path}.terms", f"1 to {EXPRESSION_TERMS_MAX} terms")
        stack = list[tree.Expression]()
        for index, term in enumerate(message.terms):
            inner = f"{path}.terms[{index}]"
            match term.WhichOneof("form"):
                case "number":
                    stack.append(tree.Number(numbers.read(term.number, f"{inner}.number", depth)))
                case "measure":
                    stack.append(from_measure(term.measure, f"{inner}.measure", depth))
                case "operation" if len(stack) >= 2:
                    op = operations.read(term.operation, f"{inner}.operation", depth)
                    right, left = stack.pop(), stack.pop()
                    stack.append(tree.Arithmetic(op, left, right))
                case "operation":
                    raise RequestInvalid(f"{inner}.operation", "joins the two terms before it, and there are fewer")
                case _:
                    raise RequestInvalid(f"{inner}.form", "one of number, measure and operation must be given")
        if len(stack) != 1:
            raise RequestInvalid(f"{path}.terms", "terms are left over: postfix order ends with the last operation")
        return stack[0]

    return Codec(lambda expression: pb.Expression(terms=to_terms(expression)), from_terms)
