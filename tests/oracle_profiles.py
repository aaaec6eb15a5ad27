"""Attribute predicates beyond one value at T, as plain Python: calendar, versions, places, buckets, history."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from cdp_query import tree
from tests.oracle_windows import in_window, length_ms, local_date, months_later, span_of_moment, span_of_window
from tests.oracle_zones import day_start
from tests.raw_records import Change, User, Value
from tests.shards import KEY
from tests.siphash import siphash

Satisfies = Callable[[tree.Condition, Value | None, tree.Context], bool]
COMPARE: dict[tree.Op, Callable[[Any, Any], bool]] = {
    tree.Op.EQ: lambda a, b: a == b,
    tree.Op.NE: lambda a, b: a != b,
    tree.Op.LT: lambda a, b: a < b,
    tree.Op.LE: lambda a, b: a <= b,
    tree.Op.GT: lambda a, b: a > b,
    tree.Op.GE: lambda a, b: a >= b,
}


# ------------------------------------------------------------------------------------------------------------ calendar


_WRITTEN = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?([.,][0-9]{1,9})?(.*))?", re.ASCII
)


def time_of(value: Value | None, context: tree.Context) -> int | None:
    """Epoch ms of a time, also of one that stands in a text; None of anything else."""
    if isinstance(value, datetime):
        return _ms(value)
    found = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None or (found[4] and not found[3]):
        return None
    day, clock, seconds, fraction, offset = found.groups()
    if offset and not re.fullmatch("[Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?", offset):
        return None
    try:
        written = datetime.fromisoformat(f"{day}T{clock or '00:00'}{seconds or ':00'}")
    except ValueError:
        return None
    if clock is None:
        return day_start(written.toordinal(), ZoneInfo(context.tz))
    zone = datetime.fromisoformat(f"2000-01-01T00:00{offset.upper()}").tzinfo if offset else ZoneInfo(context.tz)
    instant = written.replace(tzinfo=zone)
    return _ms(instant) + int((fraction or ".0")[1:].ljust(3, "0")[:3])


def time_holds(test: tree.TimeTest, value: Value | None, context: tree.Context) -> bool:
    """within last, within next, older than."""
    at = time_of(value, context)
    if at is None:
        return False
    if test.span.unit in ("ms", "s", "m", "h"):
        ago = context.as_of_ms - at
        span = length_ms(test.span)
        return {tree.Side.LAST: 0 <= ago < span, tree.Side.NEXT: 0 < -ago <= span, tree.Side.OLDER: ago >= span}[
            test.side
        ]
    day, now = _local_date(at, context), _local_date(context.as_of_ms, context)
    match test.side:
        case tree.Side.LAST:
            return _moved(now, test.span, -1) <= day <= now
        case tree.Side.NEXT:
            return now <= day <= _moved(now, test.span, 1)
    return day < _moved(now, test.span, -1)


def anniversary_holds(test: tree.Anniversary, value: Value | None, context: tree.Context) -> bool:
    """Some date in the range is the value's day in that year."""
    at = time_of(value, context)
    if at is None:
        return False
    born, now = _local_date(at, context), _local_date(context.as_of_ms, context)
    first, last = (span.amount * (7 if span.unit == "w" else 1) for span in (test.first, test.last))
    days = (now + timedelta(days=offset) for offset in range(first, min(last, first + 366) + 1))
    return any(_in_year(born, day.year) == day for day in days)


def _in_year(born: date, year: int) -> date:
    try:
        return born.replace(year=year)
    except ValueError:  # 29 February of a common year
        return date(year, 2, 28)


def _moved(day: date, span: tree.Duration, sign: int) -> date:
    amount = sign * span.amount
    if span.unit in ("d", "w"):
        return day + timedelta(days=amount * (7 if span.unit == "w" else 1))
    return months_later(day, amount * (12 if span.unit == "y" else 1))


def _local_date(ms: int, context: tree.Context) -> date:
    return local_date(ms, ZoneInfo(context.tz))


# ------------------------------------------------------------------------------------------- versions, places, buckets


def version_holds(test: tree.VersionTest, value: Value | None) -> bool:
    """The numbers a string begins with against those of the version; missing numbers are zero."""
    numbers = _version(value)
    if test.op is tree.Op.NE:
        return numbers is None or numbers != _version(test.version)
    return numbers is not None and COMPARE[test.op](numbers, _version(test.version))


def _version(text: Value | None) -> list[int] | None:
    found = re.match(r"[vV]?([0-9]+(?:\.[0-9]+)*)", text) if isinstance(text, str) else None
    parts = found.group(1).split(".") if found else []
    if not parts or len(parts) > 16 or not all(0 < len(part) <= 18 for part in parts):
        return None
    numbers = list(map(int, parts))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def distance_holds(test: tree.DistanceTest, values: Any) -> bool:
    """Distance on the sphere through the angle between two directions."""
    latitude, longitude = values.get(f"{test.name}.lat"), values.get(f"{test.name}.lon")
    if not (_is_number(latitude) and _is_number(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return False
    here, there = _direction(latitude, longitude), _direction(test.latitude, test.longitude)
    cross = math.dist((0, 0, 0), _cross(here, there))
    angle = math.atan2(cross, sum(a * b for a, b in zip(here, there, strict=True)))
    return COMPARE[test.op](6_371_008.8 * angle, test.metres)


def _direction(latitude: float, longitude: float) -> tuple[float, float, float]:
    phi, turn = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(turn), math.cos(phi) * math.sin(turn), math.sin(phi)


def _cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def bucket_of(user: User) -> int:
    """The lower half of SipHash-1-3 of the tagged identifier under the cluster's key, mod 1000."""
    tag = {"user_id": b"u", "anonymous_id": b"a"}[user.kind]
    return (siphash(KEY, tag + user.identifier.encode()) & 0xFFFFFFFF) % 1000


# ------------------------------------------------------------------------------------------------------------- history


def history_holds(
    node: tree.HistoryTest, changes: Iterable[Change], context: tree.Context, satisfies: Satisfies
) -> bool:
    """was, changed, unchanged, value_at over one user's visible changes."""
    timeline = _timeline(node.name, changes)
    match node:
        case tree.WasTest(_, condition, window):
            return any(
                _satisfied(condition, value, context, satisfies) and _touches(window, start, end, context)
                for start, end, value in _periods(timeline, context)
            )
        case tree.ChangedTest(_, before, after, window):
            return any(
                in_window(window, ts, context)
                and _is_on_side(before, old, context, satisfies)
                and _is_on_side(after, new, context, satisfies)
                for ts, old, new in _turns(timeline)
            )
        case tree.UnchangedTest(_, span):
            turned = any(in_window(tree.Last(span), ts, context) for ts, _, _ in _turns(timeline))
            return timeline[-1][1] is not None and not turned
        case tree.ValueAtTest(_, at, condition):
            instant = _instant(at, context)
            value = [value for ts, value in timeline if ts is None or ts <= instant][-1]
            return _satisfied(condition, value, context, satisfies)


def _timeline(name: str, changes: Iterable[Change]) -> list[tuple[int | None, Value | None]]:
    """(since, value) in order of time, beginning unset; the later arrival wins among equal times."""
    by_time: dict[int, Value | None] = {}
    for change in changes:
        if name in change.attributes:
            by_time[change.ts] = change.attributes[name]
    return [(None, None), *sorted(by_time.items())]


def _turns(timeline: list[tuple[int | None, Value | None]]) -> list[tuple[int, Value | None, Value | None]]:
    return [
        (ts, old, new) for (_, old), (ts, new) in pairwise(timeline) if ts is not None and _tagged(old) != _tagged(new)
    ]


def _tagged(value: Value | None) -> Any:
    """1 and 1.0 are the same number, true and 1 are not; lists are the same with the same items of the same types."""
    if isinstance(value, list):
        return [(type(item).__name__, repr(item)) for item in value]
    return ("number" if _is_number(value) else type(value).__name__, value)


def _periods(
    timeline: list[tuple[int | None, Value | None]], context: tree.Context
) -> list[tuple[int | None, int, Value | None]]:
    """(first instant, last instant, value in force)."""
    ends = [ts - 1 for ts, _ in timeline[1:] if ts is not None] + [context.as_of_ms]
    return [(start, end, value) for (start, value), end in zip(timeline, ends, strict=True)]


def _touches(window: tree.Window, start: int | None, end: int, context: tree.Context) -> bool:
    """Whether an instant of [start, end] lies in the window and is not after T."""
    span = span_of_window(window, context)
    first = None if span.start is None else span.start + (not span.with_start)
    last = context.as_of_ms if span.end is None else min(context.as_of_ms, span.end - (not span.with_end))
    firsts = [instant for instant in (first, start) if instant is not None]
    if first is not None and first > last:
        return False
    return not firsts or max(firsts) <= min(last, end)


def _instant(at: tree.Moment | tree.Duration, context: tree.Context) -> int:
    if isinstance(at, tree.Duration):
        ended = span_of_window(tree.MoreThanAgo(at), context).end
    else:
        ended = span_of_moment(at, context).start
    assert ended is not None
    return min(ended, context.as_of_ms)


def _is_on_side(side: tree.ChangeSide | None, value: Value | None, context: tree.Context, satisfies: Satisfies) -> bool:
    if side is None:
        return True
    if side.unset or not side.values:
        return (value is None) == side.unset
    return value is not None and satisfies(tree.OneOf(side.values), value, context)


def _satisfied(condition: tree.Condition, value: Value | None, context: tree.Context, satisfies: Satisfies) -> bool:
    """A condition on a value of the type it asks for; what is unset is only missing."""
    if value is None or isinstance(condition, tree.Exists):
        return isinstance(condition, tree.Exists) and satisfies(condition, value, context)
    return _asks_for(condition, value) and satisfies(condition, value, context)


def _asks_for(condition: tree.Condition, value: Value) -> bool:
    match condition:
        case tree.Compare(tree.Op.NE, literal) | tree.Compare(tree.Op.EQ, literal):
            return isinstance(value, list) or _same_type(value, literal)
        case tree.OneOf(literals):
            return isinstance(value, list) or any(_same_type(value, literal) for literal in literals)
        case tree.TextTest():
            return isinstance(value, str | list)
        case tree.ListTest() | tree.SizeTest():
            return isinstance(value, list)
        case tree.VersionTest():
            return isinstance(value, str)
    return True


def _same_type(value: Value, literal: tree.Literal) -> bool:
    if isinstance(literal, tree.Moment):
        return time_of(value, tree.Context(0)) is not None
    if isinstance(literal, bool) or isinstance(value, bool):
        return isinstance(literal, bool) and isinstance(value, bool)
    return _is_number(value) == _is_number(literal) and isinstance(value, int | float | str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
