"""not a = 1 -> a != 1; not count(E) >= 3 -> count(E) < 3; so that equivalent parts are written alike.

Only for predicates with a complement of their own: `not age > 3` is no `age <= 3`, since that is false if age is not
set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cdp_query.tree import (
    AttributeTest,
    Compare,
    Condition,
    CountTest,
    Exists,
    Node,
    Not,
    OneOf,
    Op,
    RecencyTest,
    TextTest,
)
from cdp_query.tree.walk import with_operands

_OPPOSITE: Final = {
    Op.EQ: Op.NE,
    Op.NE: Op.EQ,
    Op.LT: Op.GE,
    Op.GE: Op.LT,
    Op.GT: Op.LE,
    Op.LE: Op.GT,
}


def negate(node: Node) -> Node:
    """The segment without `not` in front of predicates that have a complement."""
    match node:
        case Not(AttributeTest(name, condition)):
            complement = _complement(condition)
            return node if complement is None else AttributeTest(name, complement)
        case Not(CountTest(op=op, exclude_zero=False) as test):
            return replace(test, op=_OPPOSITE[op])
        case Not(RecencyTest(op=op) as test):
            return replace(test, op=_OPPOSITE[op])
    return with_operands(node, negate)


def _complement(condition: Condition) -> Condition | None:
    match condition:
        case Compare(Op.EQ | Op.NE as op):
            return replace(condition, op=_OPPOSITE[op])
        case OneOf() | TextTest() | Exists():
            return replace(condition, negated=not condition.negated)
    return None
