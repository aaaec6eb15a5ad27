"""did(E, last: 7d) and did(E, last: 30d) -> did(E, last: 7d); with `or` the wider one stays.

Counts fold likewise: count(E, last: 7d) >= 3 implies count(E, last: 30d) >= 2 and did(E).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from cdp_query.rules.groups import Group, grouped, on_groups
from cdp_query.tree import (
    All,
    Always,
    CountTest,
    Did,
    Duration,
    Events,
    Last,
    MoreThanAgo,
    Node,
    Not,
    Op,
    UserWindow,
    Window,
)

_FIXED_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@dataclass(frozen=True, slots=True)
class _Bound:
    """At least (or at most) so many events of a set in a window."""

    is_least: bool
    number: int
    events: Events
    window: Window

    def implies(self, other: _Bound) -> bool:
        """Tests whether the other always holds if this one does."""
        if self.is_least is not other.is_least or self.events != other.events:
            return False
        if repr(self.events) != repr(other.events):  # 1 == True in Python, not in a filter
            return False
        if self.is_least:
            return self.number >= other.number and _contains(other.window, self.window)
        return self.number <= other.number and _contains(self.window, other.window)


def fold_windows(node: Node) -> Node:
    """The segment without bounds on the number of events that follow from others in the same group."""
    return on_groups(node, _folded)


def _folded(group: Group) -> Node:
    bounds = [_bound(item) for item in group.items]
    if sum(bound is not None for bound in bounds) < 2:
        return grouped(type(group), group.items)
    kept = list[int]()
    for place, own in enumerate(bounds):
        others = [(n, bound) for n, bound in enumerate(bounds) if bound is not None and n != place]
        if own is None or not any(_goes(own, other, isinstance(group, All), first=n < place) for n, other in others):
            kept.append(place)
    return grouped(type(group), (group.items[place] for place in kept))


def _goes(own: _Bound, other: _Bound, is_all: bool, *, first: bool) -> bool:
    """Tests whether the other bound makes this one redundant; of two equivalent bounds the first stays."""
    # A window of each user mentions a name, and an unknown name must still be reported.
    if isinstance(own.window, UserWindow) and other.window != own.window:
        return False
    spare = other.implies(own) if is_all else own.implies(other)
    alike = other.implies(own) and own.implies(other)
    return spare and (first or not alike)


def _bound(node: Node) -> _Bound | None:
    match node:
        case Did(events, window):
            return _Bound(True, 1, events, window)
        case Not(Did(events, window)):
            return _Bound(False, 0, events, window)
        case CountTest(events, window, Op.GE | Op.GT as op, value, False):
            return _Bound(True, math.ceil(value) if op is Op.GE else math.floor(value) + 1, events, window)
        case CountTest(events, window, Op.LE | Op.LT as op, value, False):
            return _Bound(False, math.floor(value) if op is Op.LE else math.ceil(value) - 1, events, window)
        case CountTest(events, window, Op.EQ, 0, False):
            return _Bound(False, 0, events, window)
    return None


def _contains(wide: Window, narrow: Window) -> bool:
    """Tests whether every instant of one window lies in the other, judged by the literals alone."""
    match wide, narrow:
        case Always(), _:
            return True
        case (Last(longer), Last(shorter)):
            return _is_longer(longer, shorter)
        case (MoreThanAgo(nearer), MoreThanAgo(further)):
            return _is_longer(further, nearer)
    return wide == narrow


def _is_longer(longer: Duration, shorter: Duration) -> bool:
    """Tests durations by length; those of the calendar compare only with the same unit."""
    if longer.unit == shorter.unit:
        return longer.amount >= shorter.amount
    if longer.unit in _FIXED_MS and shorter.unit in _FIXED_MS:
        return longer.amount * _FIXED_MS[longer.unit] >= shorter.amount * _FIXED_MS[shorter.unit]
    return False
