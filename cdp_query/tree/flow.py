"""The report on the events after an anchor, or before it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from cdp_query.tree.conditions import Duration
from cdp_query.tree.events import Events
from cdp_query.tree.window_forms import ALWAYS, Window

__all__ = ["Flow", "FlowAnchor", "FlowDirection"]


class FlowDirection(enum.Enum):
    """Direction of a flow from its anchors: the events after them or before them."""

    AFTER = "after"
    BEFORE = "before"


class FlowAnchor(enum.Enum):
    """Anchors of a flow among a user's events in the window: the first, the last, or each of them."""

    FIRST = "first"
    LAST = "last"
    EACH = "each"


@dataclass(frozen=True, slots=True)
class Flow:
    """A report: the next (or previous) `depth` events of an anchor at most `within` away, counted by path.

    `only` are the names that count; without any, all do.
    """

    EXAMPLE: ClassVar = 'flow("Signup", depth: 3, within: 7d, last: 90d)'

    events: Events
    depth: int
    window: Window = ALWAYS
    within: Duration | None = None
    direction: FlowDirection = FlowDirection.AFTER
    anchor: FlowAnchor = FlowAnchor.FIRST
    only: tuple[str, ...] = ()
