"""Selection of events: by name, and by a filter on their own properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

# Only for the annotation: a filter is made of the nodes of a segment, and segments speak of events.
if TYPE_CHECKING:
    from cdp_query.tree.segments import Node

__all__ = ["Events"]


@dataclass(frozen=True, slots=True)
class Events:
    """E of semantics.md: events with one of these names that pass the filter."""

    names: tuple[str, ...]
    where: Node | None = None
