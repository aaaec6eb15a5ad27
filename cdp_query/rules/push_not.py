"""not (a and b) -> not a or not b; not not a -> a; so that `not` comes only before predicates."""

from __future__ import annotations

from cdp_query.tree import All, Any, Node, Not
from cdp_query.tree.walk import with_operands


def push_not(node: Node) -> Node:
    """The segment with every `not` moved down to its predicate."""
    match node:
        case Not(Not(item)):
            return push_not(item)
        case Not(All(items)):
            return Any(tuple(push_not(Not(item)) for item in items))
        case Not(Any(items)):
            return All(tuple(push_not(Not(item)) for item in items))
    return with_operands(node, push_not)
