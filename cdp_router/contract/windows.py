"""Windows and durations on the wire."""

from __future__ import annotations

from typing import Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.contract.enums import known
from cdp_router.errors import RequestInvalid

_UNITS: Final = {
    "ms": pb.DURATION_UNIT_MILLISECOND,
    "s": pb.DURATION_UNIT_SECOND,
    "m": pb.DURATION_UNIT_MINUTE,
    "h": pb.DURATION_UNIT_HOUR,
    "d": pb.DURATION_UNIT_DAY,
    "w": pb.DURATION_UNIT_WEEK,
    "mo": pb.DURATION_UNIT_MONTH,
    "y": pb.DURATION_UNIT_YEAR,
}
CALENDAR: Final = {
    "day": pb.CALENDAR_UNIT_DAY,
    "week": pb.CALENDAR_UNIT_WEEK,
    "month": pb.CALENDAR_UNIT_MONTH,
    "year": pb.CALENDAR_UNIT_YEAR,
}


def to_span(duration: tree.Duration) -> pb.TimeSpan:
    """Message of a duration."""
    return pb.TimeSpan(amount=duration.amount, unit=_UNITS[duration.unit])


def from_span(message: pb.TimeSpan, path: str) -> tree.Duration:
    """Duration of a message."""
    if message.amount < 0:
        raise RequestInvalid(f"{path}.amount", "must not be negative")
    return tree.Duration(message.amount, known(_UNITS, message.unit, f"{path}.unit"))


def to_window(window: tree.Window) -> pb.Window | None:
    """Message of a window; None for no window."""
    match window:
        case tree.Always():
            return None
        case tree.FromTo(start, end):
            return pb.Window(from_to=pb.FromTo(start=start.iso, end=end.iso))
        case tree.Before(moment):
            return pb.Window(before=moment.iso)
        case tree.After(moment):
            return pb.Window(after=moment.iso)
        case tree.Last(duration):
            return pb.Window(last=to_span(duration))
        case tree.LastCalendar(duration):
            return pb.Window(last_calendar=to_span(duration))
        case tree.DaysAgo(days):
            return pb.Window(days_ago=days)
        case tree.Ago(near, far):
            return pb.Window(ago=pb.Ago(near=to_span(near), far=to_span(far)))
        case tree.MoreThanAgo(duration):
            return pb.Window(more_than_ago=to_span(duration))
        case tree.This(unit):
            return pb.Window(this=CALENDAR[unit])
        case tree.Previous(unit):
            return pb.Window(previous=CALENDAR[unit])
        case tree.WithinFirst(duration, names):
            return pb.Window(within_first=pb.WithinFirst(duration=to_span(duration), names=names))
        case tree.Since(attribute):
            return pb.Window(since=attribute)


def from_window(message: pb.Window, path: str) -> tree.Window:
    """Window of a message; an empty one is no window."""
    path = f"{path}.window"
    match message.WhichOneof("form"):
        case "from_to":
            return tree.FromTo(tree.Moment(message.from_to.start), tree.Moment(message.from_to.end))
        case "before":
            return tree.Before(tree.Moment(message.before))
        case "after":
            return tree.After(tree.Moment(message.after))
        case "last":
            return tree.Last(from_span(message.last, f"{path}.last"))
        case "last_calendar":
            return tree.LastCalendar(from_span(message.last_calendar, f"{path}.last_calendar"))
        case "days_ago" if message.days_ago < 0:
            raise RequestInvalid(f"{path}.days_ago", "must not be negative")
        case "days_ago":
            return tree.DaysAgo(message.days_ago)
        case "ago":
            near = from_span(message.ago.near, f"{path}.ago.near")
            return tree.Ago(near, from_span(message.ago.far, f"{path}.ago.far"))
        case "more_than_ago":
            return tree.MoreThanAgo(from_span(message.more_than_ago, f"{path}.more_than_ago"))
        case "this":
            return tree.This(known(CALENDAR, message.this, f"{path}.this"))
        case "previous":
            return tree.Previous(known(CALENDAR, message.previous, f"{path}.previous"))
        case "within_first":
            first = message.within_first
            if not first.names or not all(first.names):
                raise RequestInvalid(f"{path}.within_first.names", "at least one event name, none of them empty")
            return tree.WithinFirst(from_span(first.duration, f"{path}.within_first.duration"), tuple(first.names))
        case "since":
            if not message.since:
                raise RequestInvalid(f"{path}.since", "must not be empty")
            return tree.Since(message.since)
    return tree.Always()
