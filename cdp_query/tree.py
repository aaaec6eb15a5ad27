"""The unbound tree: what a question says, before any name is looked up. Same shape as the messages of cdp.v1."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, local time or instant in ISO form as written: 2026-01-31, 2026-01-31T10:00, 2026-01-31T10:00:00Z."""

    iso: str


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time; months and years are calendar arithmetic."""

    amount: int
    unit: str  # one of DURATION_UNITS

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"


DURATION_UNITS = ("ms", "s", "m", "h", "d", "w", "mo", "y")
CALENDAR_UNITS = ("day", "week", "month", "year")

Literal = bool | int | float | str | Moment


class Op(enum.Enum):
    """Comparison of a value with a literal."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class TextOp(enum.Enum):
    """Tests of a string."""

    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    MATCHES = "matches"


class ListOp(enum.Enum):
    """Tests of a list."""

    HAS = "has"
    HAS_ANY = "has_any"
    HAS_ALL = "has_all"
    HAS_NONE = "has_none"


@dataclass(frozen=True, slots=True)
class Compare:
    """value op literal; `ci` compares strings without regard to case."""

    op: Op
    value: Literal
    ci: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """value in [...], or not in."""

    values: tuple[Literal, ...]
    negated: bool = False
    ci: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """low <= value <= high."""

    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class TextTest:
    """contains, starts_with, ends_with, matches, or their complement."""

    op: TextOp
    pattern: str
    negated: bool = False
    ci: bool = False


@dataclass(frozen=True, slots=True)
class Exists:
    """A value is set (or, negated, missing)."""

    negated: bool = False


@dataclass(frozen=True, slots=True)
class ListTest:
    """has, has_any, has_all, has_none."""

    op: ListOp
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class SizeTest:
    """Number of items of a list against a number."""

    op: Op
    value: int


Condition = Compare | OneOf | Between | TextTest | Exists | ListTest | SizeTest


@dataclass(frozen=True, slots=True)
class Always:
    """No window: everything up to as_of."""


@dataclass(frozen=True, slots=True)
class FromTo:
    """from/to: dates are both included; instants are half open."""

    start: Moment
    end: Moment


@dataclass(frozen=True, slots=True)
class Before:
    """Before a date or instant, which is excluded."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class After:
    """After a date or instant, which is excluded."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class Last:
    """Rolling: (T - duration, T]."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class LastCalendar:
    """Whole calendar units before the current one, plus the current one so far."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class DaysAgo:
    """Exactly the calendar day that many days ago."""

    days: int


@dataclass(frozen=True, slots=True)
class Ago:
    """(T - far, T - near]."""

    near: Duration
    far: Duration


@dataclass(frozen=True, slots=True)
class MoreThanAgo:
    """(-inf, T - duration]."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class This:
    """The current calendar unit up to T."""

    unit: str  # one of CALENDAR_UNITS


@dataclass(frozen=True, slots=True)
class Previous:
    """The calendar unit before the current one."""

    unit: str  # one of CALENDAR_UNITS


Window = Always | FromTo | Before | After | Last | LastCalendar | DaysAgo | Ago | MoreThanAgo | This | Previous


@dataclass(frozen=True, slots=True)
class All:
    """Every item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item does not hold: its complement in the population."""

    item: Node


@dataclass(frozen=True, slots=True)
class Everyone:
    """The whole population."""


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """A condition on the profile's attribute, as it stands at T."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class PropertyTest:
    """A condition on a property of the event at hand; only inside event filters."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Events:
    """E of segments.md: events with one of these names that pass the filter."""

    names: tuple[str, ...]
    where: Node | None = None


@dataclass(frozen=True, slots=True)
class Did:
    """At least one such event in the window."""

    events: Events
    window: Window = Always()


class Aggregate(enum.Enum):
    """What is computed per user over a property of its events."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"


@dataclass(frozen=True, slots=True)
class CountTest:
    """Number of such events in the window against a number."""

    events: Events
    window: Window
    op: Op
    value: int | float
    exclude_zero: bool = False


@dataclass(frozen=True, slots=True)
class AggregateTest:
    """An aggregate of a numeric property against a number."""

    aggregate: Aggregate
    property: str
    events: Events
    window: Window
    op: Op
    value: int | float


class Occurrence(enum.Enum):
    """Which occurrence of an event must lie in the window."""

    FIRST = "first_time"
    LAST = "last_time"


@dataclass(frozen=True, slots=True)
class OccurrenceTest:
    """The user's first (last) such event ever lies in the window."""

    occurrence: Occurrence
    events: Events
    window: Window


@dataclass(frozen=True, slots=True)
class SequenceTest:
    """The steps were done in order by different events (segments.md, section 4)."""

    steps: tuple[Events, ...]
    window: Window = Always()
    within: Duration | None = None
    strict_ties: bool = False


Node = (
    All
    | Any
    | Not
    | Everyone
    | AttributeTest
    | PropertyTest
    | Did
    | CountTest
    | AggregateTest
    | OccurrenceTest
    | SequenceTest
)


@dataclass(frozen=True, slots=True)
class Funnel:
    """A report: how many users reached each step of a sequence."""

    steps: tuple[Events, ...]
    window: Window = Always()
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
