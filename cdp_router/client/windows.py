"""Windows of questions as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeVar

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.literals import moment, span

Own = TypeVar("Own", bound="Windowed")
Moment = str | date
_UNITS: Final[Mapping[str, pb.CalendarUnit.ValueType]] = {
    "day": pb.CALENDAR_UNIT_DAY,
    "week": pb.CALENDAR_UNIT_WEEK,
    "month": pb.CALENDAR_UNIT_MONTH,
    "year": pb.CALENDAR_UNIT_YEAR,
}


class Windowed:
    """Expression with a window of time; each method sets the window and returns the expression itself."""

    def _window(self) -> pb.Window:
        raise NotImplementedError

    def last(self: Own, length: str) -> Own:
        """The rolling window of this length that ends at T: (T - length, T]."""
        return self._set(last=length)

    def last_calendar(self: Own, length: str) -> Own:
        """Whole local days, weeks, months or years before the current one, and the current one so far."""
        return self._set(last_calendar=length)

    def between_dates(self: Own, start: Moment, end: Moment) -> Own:
        """Between two dates, both included, or two instants, the second excluded."""
        return self._set(between=(start, end))

    def before(self: Own, instant: Moment) -> Own:
        """Before a date or instant."""
        return self._set(before=instant)

    def after(self: Own, instant: Moment) -> Own:
        """After a date or instant."""
        return self._set(after=instant)

    def days_ago(self: Own, days: int) -> Own:
        """Exactly the local day this many days ago."""
        return self._set(days_ago=days)

    def ago(self: Own, near: str, far: str) -> Own:
        """(T - far, T - near]."""
        return self._set(ago=(near, far))

    def more_than_ago(self: Own, length: str) -> Own:
        """Up to T - length."""
        return self._set(more_than_ago=length)

    def this(self: Own, unit: str) -> Own:
        """The current day, week, month or year so far."""
        return self._set(this=unit)

    def previous(self: Own, unit: str) -> Own:
        """The day, week, month or year before the current one."""
        return self._set(previous=unit)

    def within_first(self: Own, length: str, names: str | Sequence[str]) -> Own:
        """This long from the user's first event of these names, both ends included."""
        return self._set(within_first=(length, names))

    def since(self: Own, attribute: str) -> Own:
        """From the time in the user's attribute."""
        return self._set(since=attribute)

    def _set(self: Own, **form: Any) -> Own:
        window = window_of(form)
        assert window is not None
        self._window().CopyFrom(window)
        return self


def window_of(form: Mapping[str, Any]) -> pb.Window | None:
    """The window of one keyword, named like the methods of Windowed (dates: between=(start, end)); None without one."""
    if not form:
        return None
    name = next(iter(form)) if len(form) == 1 else ""
    value: Any = form.get(name)
    match name:
        case "last":
            return pb.Window(last=span(value))
        case "last_calendar":
            return pb.Window(last_calendar=span(value))
        case "more_than_ago":
            return pb.Window(more_than_ago=span(value))
        case "between":
            return pb.Window(from_to=pb.FromTo(start=moment(value[0]), end=moment(value[1])))
        case "before":
            return pb.Window(before=moment(value))
        case "after":
            return pb.Window(after=moment(value))
        case "days_ago":
            return pb.Window(days_ago=value)
        case "ago":
            return pb.Window(ago=pb.Ago(near=span(value[0]), far=span(value[1])))
        case "this":
            return pb.Window(this=calendar_unit(value))
        case "previous":
            return pb.Window(previous=calendar_unit(value))
        case "within_first":
            length, names = value
            given = [names] if isinstance(names, str) else names
            return pb.Window(within_first=pb.WithinFirst(duration=span(length), names=given))
        case "since":
            return pb.Window(since=value)
    raise TypeError(f"{', '.join(form)}: one window must be given, such as last='30d'")


def calendar_unit(unit: str) -> pb.CalendarUnit.ValueType:
    if unit not in _UNITS:
        raise ValueError(f"{unit!r} is none of {', '.join(_UNITS)}")
    return _UNITS[unit]
