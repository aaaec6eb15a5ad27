"""Named segments: replaced by their definitions where a question names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.limits import NAMED_SEGMENT_DEPTH_MAX, QUERY_NESTING_MAX, QUERY_NODES_MAX
from cdp_query.tree.walk import children, descendants

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a named segment."""

    name: str
    version: int
    segment: tree.Node


Lookup = Callable[[str, int | None], Definition]


def nothing_named(name: str, _: int | None) -> Definition:
    """A look-up that finds no named segments."""
    raise QueryInvalid(f"no segment is named {name!r}")


@dataclass(slots=True)
class Inliner:
    """Replaces named segments by their definitions; `used` are these, in order of first use.

    `lookup` returns a definition, the newest if no version is requested, and raises QueryInvalid if there is none.
    """

    lookup: Lookup
    used: dict[tuple[str, int], Definition] = field(default_factory=dict)
    _nodes: int = 0

    def question(self, question: tree.Question) -> tree.Question:
        """The question without names of segments; QueryInvalid for cycles and for growth beyond the limits."""
        written = self._part(question, ())
        if self.used and _depth(written) > QUERY_NESTING_MAX:
            names = ", ".join(repr(name) for name, _ in self.used)
            raise QueryInvalid(
                f"with {names} written out, the question has more than {QUERY_NESTING_MAX} levels of nesting"
            )
        return written

    def _part(self, part: Part, path: tuple[tuple[str, int], ...]) -> Part:
        if isinstance(part, tree.InSegment):
            written: Any = self._definition(part, path)
            return written  # type: ignore[no-any-return]
        if isinstance(part, tuple):
            items: Any = tuple(self._part(item, path) for item in part)
            return items  # type: ignore[no-any-return]
        if not is_dataclass(part) or isinstance(part, type):
            return part
        self._nodes += 1
        if self._nodes > QUERY_NODES_MAX:
            raise QueryInvalid(f"with its named segments written out, the question has over {QUERY_NODES_MAX} parts")
        values = ((each.name, getattr(part, each.name)) for each in fields(part))
        changed = {name: new for name, old in values if (new := self._part(old, path)) is not old and new != old}
        return replace(part, **changed) if changed else part

    def _definition(self, reference: tree.InSegment, path: tuple[tuple[str, int], ...]) -> tree.Node:
        found = self.lookup(reference.name, reference.version)
        key = (found.name, found.version)
        if key in path:
            names = " -> ".join(repr(name) for name, _ in (*path[path.index(key) :], key))
            raise QueryInvalid(f"segments refer to each other in a circle: {names}")
        if len(path) >= NAMED_SEGMENT_DEPTH_MAX:
            most = NAMED_SEGMENT_DEPTH_MAX
            raise QueryInvalid(f"more than {most} nested segments, the last of them {found.name!r}")
        self.used[key] = found
        return self._part(found.segment, (*path, key))


def references(part: object) -> set[str]:
    """Names of the segments that a segment or question names itself."""
    return {each.name for each in descendants(part) if isinstance(each, tree.InSegment)}


def _depth(part: object) -> int:
    """Levels of nested and, or and not."""
    own = isinstance(part, tree.All | tree.Any | tree.Not)
    return own + max((_depth(child) for _, child in children(part)), default=0)
