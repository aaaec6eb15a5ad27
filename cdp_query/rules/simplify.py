"""a and a -> a; everyone and a -> a; a and (a or b) -> a; nothing or a -> a.

A dropped part mentions only names that the rest mentions too, so that unknown names are still reported.
"""

from __future__ import annotations

from cdp_query.bind.names import names_of
from cdp_query.rules.groups import Group, grouped, key, on_groups
from cdp_query.tree import All, Any, Everyone, Node, Not


def simplify(node: Node) -> Node:
    """The segment without parts that change nothing."""
    return on_groups(node, _simplified)


def _simplified(group: Group) -> Node:
    kind = type(group)
    other = Any if kind is All else All
    neutral: Node = Everyone() if kind is All else Not(Everyone())
    items = [item for item in group.items if item != neutral]
    if not items:
        return neutral if group.items else group
    # Unequal parts never have the same key, and equality is quicker to test.
    if len(set(items)) < len(items):
        items = list({key(item): item for item in items}.values())
    if any(isinstance(item, other) for item in items):
        present = {key(item) for item in items if not isinstance(item, other)}
        kept = [item for item in items if not _is_absorbed(item, other, present)]
        items = kept if names_of(All(tuple(kept))) == names_of(All(tuple(items))) else items
    return grouped(kind, items)


def _is_absorbed(item: Node, other: type[Group], present: set[str]) -> bool:
    """Tests whether a group of the other kind holds a part that is present in the group around it."""
    return isinstance(item, other) and any(key(part) in present for part in item.items)
