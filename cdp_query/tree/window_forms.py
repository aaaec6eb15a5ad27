"""Windows of time in which events count: the forms of semantics.md, section 1."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.tree.conditions import Duration, Moment

__all__ = [
    "ALWAYS",
    "After",
    "Ago",
    "Always",
    "Before",
    "DaysAgo",
    "FixedWindow",
    "FromTo",
    "Last",
    "LastCalendar",
    "MoreThanAgo",
    "Previous",
    "Since",
    "This",
    "UserWindow",
    "Window",
    "WithinFirst",
]


@dataclass(frozen=True, slots=True)
class Always:
    """No window: everything up to as_of."""


ALWAYS = Always()


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


@dataclass(frozen=True, slots=True)
class WithinFirst:
    """[t0, t0 + duration] from the user's first event of these names; nothing for users without one."""

    duration: Duration
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Since:
    """[the time in the user's attribute, T]; nothing if it is not set to a time."""

    attribute: str


UserWindow = WithinFirst | Since
FixedWindow = Always | FromTo | Before | After | Last | LastCalendar | DaysAgo | Ago | MoreThanAgo | This | Previous
Window = FixedWindow | UserWindow
