"""Shared code of the rules: walks over groups, and keys that identify parts.

Parts are the same when they are written alike. Equality would not do: 1 == 1.0 == True in Python, not in a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdp_query.tree import All, Any, Node
from cdp_query.tree.walk import with_operands

Group = All | Any


def on_groups(node: Node, rule: Callable[[Group], Node]) -> Node:
    """The segment with a rule applied to every group, inner ones first."""
    rebuilt = with_operands(node, lambda item: on_groups(item, rule))
    return rule(rebuilt) if isinstance(rebuilt, All | Any) else rebuilt


def grouped(kind: type[All] | type[Any], items: Iterable[Node]) -> Node:
    """A group of the items, or the item if there is only one."""
    given = tuple(items)
    return given[0] if len(given) == 1 else kind(given)


def key(node: Node) -> str:
    """Text of a part: equal for parts that are written alike."""
    return repr(node)
