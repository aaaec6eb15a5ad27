"""(a and b) or (a and c) -> a and (b or c), and with `and` and `or` swapped: a shared part is evaluated once."""

from __future__ import annotations

from collections import Counter

from cdp_query.rules.groups import Group, grouped, key, on_groups
from cdp_query.tree import All, Any, Node


def share(node: Node) -> Node:
    """The segment with the shared parts of alternatives factored out."""
    return on_groups(node, _shared)


def _shared(group: Group) -> Node:
    """Factors out one shared part at a time, the most frequent first; the rests of the alternatives become a group."""
    kind, inner = type(group), Any if isinstance(group, All) else All
    if sum(isinstance(item, inner) for item in group.items) < 2:
        return group
    parts = [{key(part): part for part in item.items} if isinstance(item, inner) else {} for item in group.items]
    counts = Counter(name for own in parts for name in own)
    name, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    having = [place for place, own in enumerate(parts) if name in own]
    # If a group has only the shared part, the others follow from it; simplify handles that case.
    if count < 2 or any(len(parts[place]) < 2 for place in having):
        return group
    rests = [grouped(inner, (part for own, part in parts[place].items() if own != name)) for place in having]
    taken_out: Node = inner((parts[having[0]][name], _shared_or_one(kind(tuple(rests)))))
    items = [taken_out if place == having[0] else item for place, item in enumerate(group.items)]
    return _shared_or_one(kind(tuple(item for place, item in enumerate(items) if place not in having[1:])))


def _shared_or_one(group: Group) -> Node:
    return group.items[0] if len(group.items) == 1 else _shared(group)
