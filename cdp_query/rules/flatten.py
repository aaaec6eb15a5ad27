"""(a and b) and c -> a and b and c; a group of one -> its item; so that the planner orders all parts together."""

from __future__ import annotations

from cdp_query.tree import All, Any, Node
from cdp_query.tree.walk import with_operands


def flatten(node: Node) -> Node:
    """The segment without groups nested in groups of the same kind."""
    match node:
        case All(items):
            merged = _merged(All, items)
            return merged[0] if len(merged) == 1 else All(merged)
        case Any(items):
            merged = _merged(Any, items)
            return merged[0] if len(merged) == 1 else Any(merged)
    return with_operands(node, flatten)


def _merged(kind: type[All] | type[Any], items: tuple[Node, ...]) -> tuple[Node, ...]:
    merged = list[Node]()
    for item in map(flatten, items):
        if isinstance(item, kind):
            merged.extend(item.items)
        else:
            merged.append(item)
    return tuple(merged)
