"""Reports: over events in a window, and over segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.expressions import Events, Filter, Report, Segment, attr
from cdp_router.client.literals import moment, span
from cdp_router.client.measures import Number
from cdp_router.client.windows import Windowed, calendar_unit

__all__ = ["diff", "distribution", "flow", "lifecycle", "overlap", "retention", "rfm", "trend"]

Names = str | Sequence[str]
_STARTS: Final = {"rolling": pb.PERIOD_START_ROLLING, "calendar": pb.PERIOD_START_CALENDAR}
_MODES: Final = {"on": pb.RETURN_MODE_ON, "on_or_after": pb.RETURN_MODE_ON_OR_AFTER}
_DIRECTIONS: Final = {"after": pb.FLOW_DIRECTION_AFTER, "before": pb.FLOW_DIRECTION_BEFORE}
_ANCHORS: Final = {"first": pb.FLOW_ANCHOR_FIRST, "last": pb.FLOW_ANCHOR_LAST, "each": pb.FLOW_ANCHOR_EACH}


class _WindowedReport(Report, Windowed):
    """A report over the events of a window."""

    def __init__(self, form: str, message: Any) -> None:
        super().__init__(pb.Question(**{form: message}))
        self._form = form

    def _window(self) -> pb.Window:
        window: pb.Window = getattr(self._message, self._form).window
        return window


def trend(names: Names, *filters: Filter, unit: str, of: str = "") -> _WindowedReport:
    """Events and users per day, week or month, and the sum and average of a property where one is named."""
    events = Events(names, *filters).message()
    return _WindowedReport("trend", pb.Trend(events=events, unit=calendar_unit(unit), property=of))


def lifecycle(names: Names, *filters: Filter, unit: str) -> _WindowedReport:
    """Users that are new, returning, resurrecting or dormant in each day, week or month of the window."""
    message = pb.Lifecycle(events=Events(names, *filters).message(), unit=calendar_unit(unit))
    return _WindowedReport("lifecycle", message)


def retention(
    entry: str | Events,
    returns: str | Events,
    *,
    unit: str,
    periods: int,
    start: str = "rolling",
    mode: str = "on",
) -> _WindowedReport:
    """Retention: of the users that entered in a period, the number that returned in each of the following periods."""
    message = pb.Retention(
        entry=_events(entry),
        returns=_events(returns),
        unit=calendar_unit(unit),
        periods=periods,
        start=_known(_STARTS, start),
        mode=_known(_MODES, mode),
    )
    return _WindowedReport("retention", message)


def rfm(names: Names, money: str, *filters: Filter) -> _WindowedReport:
    """Users with the event, scored by recency, frequency and money, the sum of a property."""
    return _WindowedReport("rfm", pb.Rfm(events=Events(names, *filters).message(), money=money))


def flow(
    names: Names,
    *filters: Filter,
    depth: int,
    within: str | None = None,
    direction: str = "after",
    anchor: str = "first",
    only: Sequence[str] = (),
) -> _WindowedReport:
    """Counts by path of the events that follow, or precede, the first, last or each such event of a user."""
    message = pb.Flow(
        events=Events(names, *filters).message(),
        depth=depth,
        within=None if within is None else span(within),
        direction=_known(_DIRECTIONS, direction),
        anchor=_known(_ANCHORS, anchor),
        only=only,
    )
    return _WindowedReport("flow", message)


def overlap(*segments: Segment) -> Report:
    """Counts the users in each combination of two to six segments."""
    return Report(pb.Question(overlap=pb.Overlap(segments=[segment.message() for segment in segments])))


def diff(segment: Segment, start: str | date, end: str | date) -> Report:
    """Counts the users that entered, left and stayed in a segment between two instants; a date is its first instant."""
    return Report(pb.Question(diff=pb.Diff(segment=segment.message(), start=moment(start), end=moment(end))))


def distribution(segment: Segment, number: Number | attr) -> Report:
    """Distribution of a number, a measure or an attribute, over the members of a segment."""
    message = pb.Distribution(segment=segment.message())
    if isinstance(number, attr):
        message.attribute = number.name
    else:
        message.expression.CopyFrom(pb.Expression(terms=number.terms()))
    return Report(pb.Question(distribution=message))


def _events(events: str | Events) -> pb.EventSet:
    return (Events(events) if isinstance(events, str) else events).message()


def _known(words: Mapping[str, Any], word: str) -> Any:
    if word not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return words[word]
