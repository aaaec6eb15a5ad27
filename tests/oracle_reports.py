"""Reports as plain Python over raw records, user by user; see oracle.py."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import partial
from math import isfinite
from zoneinfo import ZoneInfo

from cdp_query import tree
from tests import oracle, oracle_events
from tests.oracle_values import is_number
from tests.oracle_windows import (
    Span,
    _first_day,
    _midnight,
    _units_later,
    local_date,
    months_later,
    span_of_window,
)
from tests.raw_records import Record, User, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT_MS = {"day": 86_400_000, "week": 604_800_000}


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period: its first date, and its instants [start, end) in epoch ms."""

    label: str
    start: int
    end: int


def periods(unit: str, first: int, last: int, tz: ZoneInfo) -> Iterator[Period]:
    """The calendar periods from that of one instant to that of another."""
    day = _first_day(local_date(first, tz), unit)
    start = _midnight(day, tz)
    while start <= last:
        following = _units_later(day, unit, 1)
        end = _midnight(following, tz)
        yield Period(day.isoformat(), start, end)
        day, start = following, end


def shown_periods(unit: str, window: tree.Window, firsts: Sequence[int], context: tree.Context) -> list[Period]:
    """The periods of a report: those of its window, from the first that has something where it has no start."""
    span = _shared_span(window, context)
    first = min(firsts, default=None) if span.start is None else span.start + (not span.with_start)
    last = last_instant(window, context)
    return [] if first is None or first > last else list(periods(unit, first, last, ZoneInfo(context.tz)))


def _shared_span(window: tree.Window, context: tree.Context) -> Span:
    """The span of a window; one that differs from user to user bounds no report as a whole."""
    return Span() if isinstance(window, tree.WithinFirst | tree.Since) else span_of_window(window, context)


def last_instant(window: tree.Window, context: tree.Context) -> int:
    """The last instant of a window that is visible at T."""
    end = _shared_span(window, context)
    closed = context.as_of_ms if end.end is None else end.end - (not end.with_end)
    return min(closed, context.as_of_ms)


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One period of a trend."""

    label: str
    events: int
    users: int
    total: int | float
    average: float | None
    incomplete: bool


def trend(report: tree.Trend, records: Sequence[Record], context: tree.Context) -> tuple[int, list[TrendRow]]:
    """(users who did it, the rows)."""
    done = [
        (profile.user, event)
        for profile in oracle.population(records, context)
        for event in oracle.done(report.events, report.window, profile, context)
    ]
    rows = []
    span = _shared_span(report.window, context)
    for period in shown_periods(report.unit, report.window, [event.ts for _, event in done], context):
        inside = [(user, event) for user, event in done if period.start <= event.ts < period.end]
        numbers = oracle._numbers(report.property, [event for _, event in inside]) if report.property else []
        total = oracle.exact_sum(numbers)
        starts_before = span.start is not None and period.start < span.start + (not span.with_start)
        rows.append(
            TrendRow(
                period.label,
                len(inside),
                len({user for user, _ in inside}),
                total,
                oracle_events.mean(numbers) if numbers else None,
                starts_before or period.end - 1 > last_instant(report.window, context),
            )
        )
    return len({user for user, _ in done}), rows


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """One cohort of a retention."""

    label: str
    users: int
    returned: tuple[int, ...]
    complete: int


def retention(
    report: tree.Retention, records: Sequence[Record], context: tree.Context
) -> tuple[int, list[RetentionRow]]:
    """(users who entered, the rows)."""
    tz = ZoneInfo(context.tz)
    users = [
        (min(event.ts for event in first), profile)
        for profile in oracle.population(records, context)
        if (first := oracle.done(report.entry, report.window, profile, context))
    ]
    rows = []
    for period in shown_periods(report.unit, report.window, [entry for entry, _ in users], context):
        cohort = [(entry, profile) for entry, profile in users if period.start <= entry < period.end]
        cells = [
            [_returned(report, entry, i, profile, context) for i in range(report.periods)] for entry, profile in cohort
        ]
        latest = max((entry for entry, _ in cohort), default=min(period.end - 1, last_instant(report.window, context)))
        # The ends ascend: a report of every day of decades asks for few of them.
        end_of: Callable[[int], int] = partial(_end, report, latest, tz)
        if report.start is tree.PeriodStart.CALENDAR:
            # By the date, not by an instant: a day that the zone skipped has none.
            end_of = partial(_calendar_end, report.unit, date.fromisoformat(period.label), tz)
        ended = bisect_right(range(report.periods), context.as_of_ms + 1, key=end_of)
        rows.append(
            RetentionRow(
                period.label,
                len(cohort),
                tuple(sum(held) for held in zip(*cells, strict=True)) or (0,) * report.periods,
                ended,
            )
        )
    return len(users), rows


def _returned(report: tree.Retention, entry: int, period: int, profile: oracle.Profile, context: tree.Context) -> bool:
    """Whether a return, some event other than some entry at the first instant, lies in the period or behind it."""
    start, end = _bounds(report, entry, period, ZoneInfo(context.tz))
    entries = [
        event for event in profile.events if event.ts == entry and oracle._is_one_of(event, report.entry, context)
    ]
    return any(
        oracle._is_one_of(event, report.returns, context)
        and event.ts >= max(start, entry)
        and (event.ts < end or report.mode is tree.ReturnMode.ON_OR_AFTER)
        and any(event is not first for first in entries)
        for event in profile.events
    )


def _end(report: tree.Retention, entry: int, tz: ZoneInfo, period: int) -> int:
    return _bounds(report, entry, period, tz)[1]


def _calendar_end(unit: str, first: date, tz: ZoneInfo, period: int) -> int:
    return _midnight(_units_later(first, unit, period + 1), tz)


def _bounds(report: tree.Retention, entry: int, period: int, tz: ZoneInfo) -> tuple[int, int]:
    """[start, end) of a user's period."""
    if report.start is tree.PeriodStart.CALENDAR:
        first = _first_day(local_date(entry, tz), report.unit)
        start, end = (_midnight(_units_later(first, report.unit, i), tz) for i in (period, period + 1))
        return start, end
    if report.unit == "month":
        return _months_after(entry, period, tz), _months_after(entry, period + 1, tz)
    unit = _UNIT_MS[report.unit]
    return entry + period * unit, entry + (period + 1) * unit


def _months_after(instant: int, months: int, tz: ZoneInfo) -> int:
    local = (_EPOCH + timedelta(milliseconds=instant)).astimezone(tz)
    day: date = months_later(local.date(), months)
    later = local.replace(year=day.year, month=day.month, day=day.day, fold=0)
    return (later.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class LifecycleRow:
    """One period of a lifecycle."""

    label: str
    new: int
    returning: int
    resurrecting: int
    dormant: int
    incomplete: bool


def lifecycle(
    report: tree.Lifecycle, records: Sequence[Record], context: tree.Context
) -> tuple[int, list[LifecycleRow]]:
    """(users who did it in a period shown, the rows): all a user ever did counts, unless the window is each user's."""
    own_window = report.window if isinstance(report.window, tree.WithinFirst | tree.Since) else tree.ALWAYS
    times = [
        [event.ts for event in oracle.done(report.events, own_window, profile, context)]
        for profile in oracle.population(records, context)
    ]
    tz = ZoneInfo(context.tz)
    starts = [_midnight(_first_day(local_date(ts, tz), report.unit), tz) for own in times for ts in own]
    shown = shown_periods(report.unit, report.window, starts, context)
    rows, active_users = [], set[int]()
    for place, period in enumerate(shown):
        before = shown[place - 1] if place else _period_before(report.unit, period, tz)
        kinds = Counter(_lifecycle_kind(own, before, period) for own in times)
        rows.append(
            LifecycleRow(
                period.label,
                *(kinds[kind] for kind in ("new", "returning", "resurrecting", "dormant")),
                period.end - 1 > context.as_of_ms,
            )
        )
        active_users |= {user for user, own in enumerate(times) if any(period.start <= ts < period.end for ts in own)}
    return len(active_users), rows


def _period_before(unit: str, period: Period, tz: ZoneInfo) -> Period:
    day = _units_later(date.fromisoformat(period.label), unit, -1)
    return Period(day.isoformat(), _midnight(day, tz), period.start)


def _lifecycle_kind(times: Sequence[int], before: Period, period: Period) -> str:
    did_now = any(period.start <= ts < period.end for ts in times)
    did_lately = any(before.start <= ts < before.end for ts in times)
    if not did_now:
        return "dormant" if did_lately else "away"
    if did_lately:
        return "returning"
    return "resurrecting" if any(ts < period.start for ts in times) else "new"


def members_at(segment: tree.Node, records: Sequence[Record], context: tree.Context, instant: int) -> set[User]:
    """Who is in a segment at an earlier instant."""
    return oracle.members(segment, records, tree.Context(instant, context.tz, context.include_anonymous))


def overlap(report: tree.Overlap, records: Sequence[Record], context: tree.Context) -> Counter[tuple[int, ...]]:
    """Users by the exact combination of segments they are in."""
    sets = [oracle.members(segment, records, context) for segment in report.segments]
    users = [profile.user for profile in oracle.population(records, context)]
    return Counter(tuple(number for number, members in enumerate(sets) if user in members) for user in users)


def distribution(
    report: tree.Distribution, records: Sequence[Record], context: tree.Context
) -> tuple[list[Fraction], int]:
    """(the numbers of the members ascending, members without one)."""

    def number_of(profile: oracle.Profile) -> Value | None:
        if isinstance(report.number, tree.AttributeNumber):
            return profile.attributes.get(report.number.name)
        done = partial(oracle.done, profile=profile, context=context)
        return oracle_events.number_of(report.number, done, context)

    members = oracle.members(report.segment, records, context)
    values = [number_of(profile) for profile in oracle.population(records, context) if profile.user in members]
    numbers = [Fraction(value) for value in values if is_number(value) and isfinite(value)]
    return sorted(numbers), len(values) - len(numbers)


def rfm(report: tree.Rfm, records: Sequence[Record], context: tree.Context) -> Counter[tuple[int, int, int]]:
    """Members by their three scores."""
    found = []
    for profile in oracle.population(records, context):
        done = oracle.done(report.events, report.window, profile, context)
        if done:
            money = oracle.exact_sum(oracle._numbers(report.money, done))
            found.append((max(event.ts for event in done), len(done), money))
    return Counter(
        tuple(1 + 5 * sum(other[i] < own[i] for other in found) // len(found) for i in range(3)) for own in found
    )
