"""Reports about users, and the context every question is asked in."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.tree.conditions import Duration
from cdp_query.tree.events import Events
from cdp_query.tree.segments import Node
from cdp_query.tree.windows import ALWAYS, Window


@dataclass(frozen=True, slots=True)
class Funnel:
    """A report: how many users reached each step of a sequence."""

    steps: tuple[Events, ...]
    window: Window = ALWAYS
    within: Duration | None = None
    strict_ties: bool = False


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A report: the members of a segment counted by the value of an attribute."""

    segment: Node
    attribute: str


Question = Node | Funnel | Breakdown


@dataclass(frozen=True, slots=True)
class Context:
    """The instant and time zone a question is asked at; fixed once per question, the same for every partition."""

    as_of_ms: int
    tz: str = "UTC"
    include_anonymous: bool = True
