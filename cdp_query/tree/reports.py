"""Reports about users, and the context of every question."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from cdp_query.tree.conditions import Duration, Moment
from cdp_query.tree.events import Events
from cdp_query.tree.flow import Flow
from cdp_query.tree.measures import Expression
from cdp_query.tree.segments import PLAIN_RULES, AttemptRules, Node
from cdp_query.tree.window_forms import ALWAYS, Window

__all__ = [
    "PERIOD_UNITS",
    "AttemptMode",
    "AttributeNumber",
    "Breakdown",
    "Context",
    "Diff",
    "Distribution",
    "Funnel",
    "Lifecycle",
    "Overlap",
    "PeriodStart",
    "Question",
    "Report",
    "Retention",
    "ReturnMode",
    "Rfm",
    "Trend",
]


class AttemptMode(enum.Enum):
    """Attempts of a user that a funnel counts: the deepest, that of the first entry, or one after the other."""

    DEEPEST = "deepest"
    FIRST_ENTRY = "first_entry"
    TOTALS = "totals"


@dataclass(frozen=True, slots=True)
class Funnel:
    """A report: how many users reached each step of a sequence; by an attribute, or a property of the entry event."""

    steps: tuple[Events, ...]
    window: Window = ALWAYS
    within: Duration | None = None
    strict_ties: bool = False
    rules: AttemptRules = PLAIN_RULES
    mode: AttemptMode = AttemptMode.DEEPEST
    by_attribute: str | None = None
    by_entry: str | None = None
    times: bool = False


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A report: the members of a segment counted by the value of an attribute."""

    segment: Node
    attribute: str


@dataclass(frozen=True, slots=True)
class Trend:
    """A report: events and users per calendar period, and the sum and average of a property if one is named."""

    EXAMPLE: ClassVar = 'trend("Charged", unit: day, last: 90d)'

    events: Events
    unit: str  # one of PERIOD_UNITS
    window: Window = ALWAYS
    property: str | None = None


class PeriodStart(enum.Enum):
    """Start of a user's periods in a retention: the instant of the entry (rolling), or calendar borders."""

    ROLLING = "rolling"
    CALENDAR = "calendar"


class ReturnMode(enum.Enum):
    """Returns that count for a cell of a retention: those of its own period, or of it and all later ones."""

    ON = "on"
    ON_OR_AFTER = "on_or_after"


@dataclass(frozen=True, slots=True)
class Retention:
    """A report: of the users who entered in a period, how many returned in each of the periods that followed."""

    EXAMPLE: ClassVar = 'retention("Signup", return: "Charged", unit: week, periods: 8, last: 90d)'

    entry: Events
    returns: Events
    unit: str  # one of PERIOD_UNITS
    periods: int
    window: Window = ALWAYS
    start: PeriodStart = PeriodStart.ROLLING
    mode: ReturnMode = ReturnMode.ON


PERIOD_UNITS = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A report: how many users are in each combination of several segments."""

    EXAMPLE: ClassVar = 'overlap(plan = "gold", did("Charged"))'

    segments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """A report: the numbers of users who entered, left and stayed in a segment from one instant to another."""

    EXAMPLE: ClassVar = 'diff(plan = "gold", from: 2026-01-01, to: 2026-02-01)'

    segment: Node
    start: Moment
    end: Moment


@dataclass(frozen=True, slots=True)
class AttributeNumber:
    """The number that an attribute holds."""

    name: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """A report: how a number is distributed over the members of a segment."""

    EXAMPLE: ClassVar = 'distribution(plan = "gold", count("Charged", last: 30d))'

    segment: Node
    number: Expression | AttributeNumber


@dataclass(frozen=True, slots=True)
class Rfm:
    """A report: users who did E scored by recency, frequency and money."""

    EXAMPLE: ClassVar = 'rfm("Charged".amount, last: 365d)'

    events: Events
    money: str
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A report: users who are new, returning, resurrecting or dormant in each calendar period that a window shows."""

    EXAMPLE: ClassVar = 'lifecycle("Charged", unit: week, last: 90d)'

    events: Events
    unit: str  # one of PERIOD_UNITS
    window: Window = ALWAYS


Report = Trend | Retention | Overlap | Diff | Distribution | Rfm | Flow | Lifecycle
Question = Node | Funnel | Breakdown | Report


@dataclass(frozen=True, slots=True)
class Context:
    """The instant and time zone of a question; fixed once per question, the same for every partition."""

    as_of_ms: int
    tz: str = "UTC"
    include_anonymous: bool = True
