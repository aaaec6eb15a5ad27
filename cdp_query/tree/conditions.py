"""Literals and the conditions on one value."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cdp_query.tree.items import ItemsTest

__all__ = [
    "CALENDAR_UNITS",
    "DURATION_UNITS",
    "Anniversary",
    "Between",
    "Compare",
    "Condition",
    "Duration",
    "Exists",
    "Infix",
    "ListOp",
    "ListTest",
    "Literal",
    "Moment",
    "OneOf",
    "Op",
    "Side",
    "SizeTest",
    "TextOp",
    "TextTest",
    "TimeTest",
    "VersionTest",
]


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


@dataclass(frozen=True, slots=True)
class VersionTest:
    """The dotted number at the beginning of a string, such as 5.10.0, against another."""

    op: Op
    version: str


class Side(enum.Enum):
    """Position of a time relative to T: within the last or the next duration, or older than it."""

    LAST = "within last"
    NEXT = "within next"
    OLDER = "older than"


@dataclass(frozen=True, slots=True)
class TimeTest:
    """A time lies within the last or next span, or before it: local dates for days and longer, else elapsed time."""

    side: Side
    span: Duration


@dataclass(frozen=True, slots=True)
class Anniversary:
    """A day of the year of T + first .. T + last (local dates, both included) has the time's month and day."""

    first: Duration
    last: Duration


Infix = Compare | OneOf | Between | TextTest | ListTest | TimeTest  # written after their subject
Condition = Infix | Exists | SizeTest | VersionTest | Anniversary | ItemsTest
