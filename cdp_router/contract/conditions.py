"""Conditions and literals on the wire."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.limits import QUERY_NESTING_MAX
from cdp_router.contract.enums import known
from cdp_router.contract.windows import from_span, to_span
from cdp_router.errors import RequestInvalid

OPERATORS: Final = {
    tree.Op.EQ: pb.COMPARISON_OPERATOR_EQ,
    tree.Op.NE: pb.COMPARISON_OPERATOR_NE,
    tree.Op.LT: pb.COMPARISON_OPERATOR_LT,
    tree.Op.LE: pb.COMPARISON_OPERATOR_LE,
    tree.Op.GT: pb.COMPARISON_OPERATOR_GT,
    tree.Op.GE: pb.COMPARISON_OPERATOR_GE,
}
_TEXT: Final = {
    tree.TextOp.CONTAINS: pb.TEXT_OPERATOR_CONTAINS,
    tree.TextOp.STARTS_WITH: pb.TEXT_OPERATOR_STARTS_WITH,
    tree.TextOp.ENDS_WITH: pb.TEXT_OPERATOR_ENDS_WITH,
    tree.TextOp.MATCHES: pb.TEXT_OPERATOR_MATCHES,
}
_LIST: Final = {
    tree.ListOp.HAS: pb.LIST_OPERATOR_HAS,
    tree.ListOp.HAS_ANY: pb.LIST_OPERATOR_HAS_ANY,
    tree.ListOp.HAS_ALL: pb.LIST_OPERATOR_HAS_ALL,
    tree.ListOp.HAS_NONE: pb.LIST_OPERATOR_HAS_NONE,
}
_SIDES: Final = {
    tree.Side.LAST: pb.TIME_SIDE_LAST,
    tree.Side.NEXT: pb.TIME_SIDE_NEXT,
    tree.Side.OLDER: pb.TIME_SIDE_OLDER,
}
_ITEMS: Final = {
    tree.ItemsOp.ANY: pb.ITEMS_OPERATOR_ANY,
    tree.ItemsOp.ALL: pb.ITEMS_OPERATOR_ALL,
    tree.ItemsOp.NONE: pb.ITEMS_OPERATOR_NONE,
}


def to_literal(value: tree.Literal) -> pb.Literal:
    """Message of a literal."""
    match value:
        case bool():
            return pb.Literal(boolean=value)
        case int():
            return pb.Literal(integer=value)
        case float():
            return pb.Literal(number=value)
        case tree.Moment(iso):
            return pb.Literal(moment=iso)
    return pb.Literal(text=value)


def from_literal(message: pb.Literal, path: str) -> tree.Literal:
    """Literal of a message."""
    match message.WhichOneof("value"):
        case "boolean":
            return message.boolean
        case "integer":
            return message.integer
        case "number" if math.isfinite(message.number):
            return message.number
        case "text":
            return message.text
        case "moment":
            return tree.Moment(message.moment)
    raise RequestInvalid(path, "must hold a finite value")


def from_number(message: pb.Literal, path: str) -> int | float:
    """Integer or number of a message."""
    value = from_literal(message, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestInvalid(path, "must be an integer or a number")
    return value


def to_condition(condition: tree.Condition) -> pb.Condition:
    """Message of a condition."""
    match condition:
        case tree.Compare(op, value, ci):
            return pb.Condition(
                comparison=pb.Comparison(operator=OPERATORS[op], value=to_literal(value), ignore_case=ci)
            )
        case tree.OneOf(values, negated, ci):
            return pb.Condition(one_of=pb.OneOf(values=map(to_literal, values), negated=negated, ignore_case=ci))
        case tree.Between(low, high):
            return pb.Condition(between=pb.Between(low=to_literal(low), high=to_literal(high)))
        case tree.TextTest(text_op, pattern, negated, ci):
            return pb.Condition(
                text=pb.TextTest(operator=_TEXT[text_op], pattern=pattern, negated=negated, ignore_case=ci)
            )
        case tree.Exists(negated):
            return pb.Condition(existence=pb.Existence(negated=negated))
        case tree.ListTest(list_op, values):
            return pb.Condition(list=pb.ListTest(operator=_LIST[list_op], values=map(to_literal, values)))
        case tree.SizeTest(op, size):
            return pb.Condition(size=pb.SizeTest(operator=OPERATORS[op], size=size))
        case tree.VersionTest(op, version):
            return pb.Condition(version=pb.VersionTest(operator=OPERATORS[op], version=version))
        case tree.TimeTest(side, span):
            return pb.Condition(time=pb.TimeTest(side=_SIDES[side], span=to_span(span)))
        case tree.ItemsTest(items_op, where):
            return pb.Condition(items=pb.ItemsTest(operator=_ITEMS[items_op], where=_to_item_filter(where)))
        case tree.Anniversary(first, last):
            return pb.Condition(anniversary=pb.Anniversary(first=to_span(first), last=to_span(last)))


def from_condition(message: pb.Condition, path: str, depth: int = 0) -> tree.Condition:
    """Condition of a message; `depth` counts the filters of items it stands in."""
    path = f"{path}.condition"
    match message.WhichOneof("test"):
        case "comparison":
            comparison, inner = message.comparison, f"{path}.comparison"
            op = known(OPERATORS, comparison.operator, f"{inner}.operator")
            return tree.Compare(op, from_literal(comparison.value, f"{inner}.value"), comparison.ignore_case)
        case "one_of":
            one_of = message.one_of
            return tree.OneOf(_literals(one_of.values, f"{path}.one_of"), one_of.negated, one_of.ignore_case)
        case "between":
            low = from_literal(message.between.low, f"{path}.between.low")
            return tree.Between(low, from_literal(message.between.high, f"{path}.between.high"))
        case "text":
            text = message.text
            return tree.TextTest(
                known(_TEXT, text.operator, f"{path}.text.operator"), text.pattern, text.negated, text.ignore_case
            )
        case "existence":
            return tree.Exists(message.existence.negated)
        case "list":
            list_op = known(_LIST, message.list.operator, f"{path}.list.operator")
            values = _literals(message.list.values, f"{path}.list")
            if list_op is tree.ListOp.HAS and len(values) != 1:
                raise RequestInvalid(f"{path}.list.values", "has takes one value; use has_any, has_all or has_none")
            return tree.ListTest(list_op, values)
        case "size":
            return tree.SizeTest(known(OPERATORS, message.size.operator, f"{path}.size.operator"), message.size.size)
        case "version":
            op = known(OPERATORS, message.version.operator, f"{path}.version.operator")
            return tree.VersionTest(op, message.version.version)
        case "time":
            side = known(_SIDES, message.time.side, f"{path}.time.side")
            return tree.TimeTest(side, from_span(message.time.span, f"{path}.time.span"))
        case "anniversary":
            first = from_span(message.anniversary.first, f"{path}.anniversary.first")
            return tree.Anniversary(first, from_span(message.anniversary.last, f"{path}.anniversary.last"))
        case "items":
            items_op = known(_ITEMS, message.items.operator, f"{path}.items.operator")
            return tree.ItemsTest(items_op, _from_item_filter(message.items.where, f"{path}.items.where", depth + 1))
    raise RequestInvalid(path, "must say what it tests")


def _to_item_filter(node: tree.Node) -> pb.Filter:
    match node:
        case tree.All(items):
            return pb.Filter(all=pb.Filters(items=map(_to_item_filter, items)))
        case tree.Any(items):
            return pb.Filter(any=pb.Filters(items=map(_to_item_filter, items)))
        case tree.Not(item):
            return pb.Filter(negation=_to_item_filter(item))
        case tree.PropertyTest(name, condition):
            return pb.Filter(property=pb.PropertyTest(name=name, condition=to_condition(condition)))
    raise RequestInvalid("items.where", f"{type(node).__name__} cannot stand in a filter of items")


def _from_item_filter(message: pb.Filter, path: str, depth: int) -> tree.Node:
    if depth > QUERY_NESTING_MAX:
        raise RequestInvalid(path, f"more than {QUERY_NESTING_MAX} levels inside each other")
    match message.WhichOneof("node"):
        case "all":
            return tree.All(_from_item_filters(message.all.items, f"{path}.all", depth))
        case "any":
            return tree.Any(_from_item_filters(message.any.items, f"{path}.any", depth))
        case "negation":
            return tree.Not(_from_item_filter(message.negation, f"{path}.negation", depth + 1))
        case "property" if message.property.name:
            return tree.PropertyTest(
                message.property.name, from_condition(message.property.condition, f"{path}.property", depth + 1)
            )
    raise RequestInvalid(path, "a filter of items combines tests of their fields, which have names")


def _from_item_filters(items: Iterable[pb.Filter], path: str, depth: int) -> tuple[tree.Node, ...]:
    return tuple(_from_item_filter(item, f"{path}.items[{index}]", depth + 1) for index, item in enumerate(items))


def _literals(messages: Any, path: str) -> tuple[tree.Literal, ...]:
    if not messages:
        raise RequestInvalid(f"{path}.values", "must not be empty")
    return tuple(from_literal(message, f"{path}.values[{index}]") for index, message in enumerate(messages))
