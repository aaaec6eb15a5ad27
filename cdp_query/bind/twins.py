"""Parts of a question that are written alike, however far apart: evaluated once, their mask kept as bits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from cdp_query import tree
from cdp_query.bind import bound
from cdp_query.tree.walk import predicates


def twins_of(segment: tree.Node) -> Mapping[int, int]:
    """For each part with a twin, by id, the id of the first one written alike; includes parts inside groups."""
    alike, leaves = defaultdict[str, list[tree.Node]](list), list(predicates(segment))
    kinds = Counter(map(type, leaves))
    for leaf in leaves:
        if kinds[type(leaf)] > 1:
            # Equality would not do: 1 == 1.0 == True in Python, not in a question.
            alike[repr(leaf)].append(leaf)
    return {id(leaf): id(same[0]) for same in alike.values() if len(same) > 1 for leaf in same}


def repeated(node: bound.BoundNode) -> frozenset[int]:
    """Numbers of the parts that occur in several places."""
    groups = bound.BoundAll | bound.BoundAny | bound.BoundNot
    counts = Counter(part.id for part in bound.parts_of(node) if not isinstance(part, groups))
    return frozenset(number for number, count in counts.items() if count > 1)
