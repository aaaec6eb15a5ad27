"""Segment semantics as plain Python over raw records: the executable form of semantics.md.

Written from the specification and not from the kernels; only the unbound tree is shared with the engine. Nothing here
is fast. Each function answers for one user, or for one event, or for one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from math import inf
from typing import Any

from cdp_query import tree
from cdp_store.values import Kind, pack_list
from tests.oracle_events import at_local_time, exact_sum, in_order, mean, most_frequent, number_of, values_of
from tests.oracle_profiles import (
    bucket_of,
    distance_holds,
    history_holds,
    time_of,
)
from tests.oracle_values import COMPARE, is_number, satisfies
from tests.oracle_windows import complete_periods, earlier, in_window, length_ms, span_of_window
from tests.raw_records import Change, Event, Record, User, Value

NONE_KEY = ("unset", None)
ValueKey = tuple[str, Any]  # ("int", 5): the type's name and the value, 1.0 is that of 1, true and "1" are others


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of one user at T: visible events ordered by time (ties by arrival), and attribute values."""

    user: User
    events: tuple[Event, ...]
    attributes: dict[str, Value]
    changes: tuple[Change, ...] = ()


# ---------------------------------------------------------------------------------------------------------------- users


def population(records: Sequence[Record], context: tree.Context) -> list[Profile]:
    """U: profiles created at or before T."""
    users = dict.fromkeys(record.user for record in records)
    created = (user for user in users if min(r.ts for r in records if r.user == user) <= context.as_of_ms)
    wanted = (user for user in created if context.include_anonymous or user.kind != "anonymous_id")
    return [_profile(user, records, context) for user in wanted]


def _profile(user: User, records: Sequence[Record], context: tree.Context) -> Profile:
    visible = [record for record in records if record.user == user and record.ts <= context.as_of_ms]
    events = [record for record in visible if isinstance(record, Event)]
    changes = [record for record in visible if isinstance(record, Change)]
    ordered = tuple(sorted(events, key=lambda event: event.ts))
    return Profile(user, ordered, _attributes(changes), tuple(changes))


def _attributes(changes: Iterable[Change]) -> dict[str, Value]:
    """The last change of each attribute; sorting is stable, so among equal times the later arrival wins."""
    values: dict[str, Value | None] = {}
    for change in sorted(changes, key=lambda change: change.ts):
        values.update(change.attributes)
    return {name: value for name, value in values.items() if value is not None}


# ------------------------------------------------------------------------------------------------------------ questions


def members(segment: tree.Node, records: Sequence[Record], context: tree.Context) -> set[User]:
    """The users of a segment."""
    return {profile.user for profile in population(records, context) if is_member(segment, profile, context)}


def funnel(report: tree.Funnel, records: Sequence[Record], context: tree.Context) -> tuple[int, ...]:
    """How many users reached each step; each user counts at the deepest step any attempt reached."""
    depths = [deepest_step(report, profile, context) for profile in population(records, context)]
    return tuple(sum(depth > step for depth in depths) for step in range(len(report.steps)))


def breakdown(report: tree.Breakdown, records: Sequence[Record], context: tree.Context) -> Counter[ValueKey]:
    """Members by attribute value; a list counts once for each different item."""
    counts = Counter[ValueKey]()
    for profile in population(records, context):
        if is_member(report.segment, profile, context):
            counts.update(_value_keys(profile.attributes.get(report.attribute)))
    return counts


def _value_keys(value: Value | None) -> set[ValueKey]:
    if isinstance(value, list):
        return {_value_key(item) for item in value} or {("list", pack_list([]).hex())}
    return {NONE_KEY if value is None else _value_key(value)}


def _value_key(value: Value) -> ValueKey:
    if isinstance(value, datetime):
        return "time", value.astimezone(UTC).isoformat()
    if is_number(value) and value == int(value) and -(2**63) <= value < 2**63:
        return "int", int(value)
    return {bool: "bool", int: "int", float: "float", str: "string"}[type(value)], value


def number_key(value: float) -> tuple[int, int | float]:
    """Kind and value of the row of a float."""
    name, number = _value_key(value)
    return Kind[name.upper()].value, number


def is_member(node: tree.Node, profile: Profile, context: tree.Context) -> bool:
    """Whether a segment holds for one user of the population."""
    match node:
        case tree.Everyone():
            return True
        case tree.All(items):
            return all(is_member(item, profile, context) for item in items)
        case tree.Any(items):
            return any(is_member(item, profile, context) for item in items)
        case tree.Not(item):
            return not is_member(item, profile, context)
        case tree.AttributeTest(name, condition):
            return satisfies(condition, profile.attributes.get(name), context)
        case tree.DistanceTest():
            return distance_holds(node, profile.attributes)
        case tree.BucketTest(first, last):
            return first <= bucket_of(profile.user) <= last
        case tree.WasTest() | tree.ChangedTest() | tree.UnchangedTest() | tree.ValueAtTest():
            return history_holds(node, profile.changes, context, satisfies)
        case tree.SequenceTest(steps):
            return deepest_step(node, profile, context) == len(steps)
    return _event_predicate(node, profile, context)


def _event_predicate(node: tree.Node, profile: Profile, context: tree.Context) -> bool:
    of_user = partial(done, profile=profile, context=context)
    match node:
        case tree.Did(events, window):
            return len(done(events, window, profile, context)) >= 1
        case tree.CountTest(events, window, op, value, exclude_zero):
            count = len(done(events, window, profile, context))
            return COMPARE[op](count, value) and not (exclude_zero and count == 0)
        case tree.AggregateTest(aggregate, name, events, window, op, value):
            numbers = _numbers(name, done(events, window, profile, context))
            result = _aggregate(aggregate, numbers)
            return result is not None and COMPARE[op](result, value)
        case tree.OccurrenceTest(occurrence, events, window):
            ever = [event.ts for event in profile.events if _is_one_of(event, events, context)]
            pick = min if occurrence is tree.Occurrence.FIRST else max
            return bool(ever) and inside(window, pick(ever), profile, context)
        case tree.RecencyTest(events, op, duration, window):
            times = [event.ts for event in done(events, window, profile, context)]
            # Longer ago than a duration is before the instant that lies that far back.
            return COMPARE[op](-max(times, default=-inf), -earlier(duration, context))
        case tree.EdgeValueTest(edge, name, events, window, condition):
            having = [
                event for event in in_order(events, of_user(events, window)) if event.properties.get(name) is not None
            ]
            return bool(having) and satisfies(
                condition, having[0 if edge is tree.Edge.FIRST else -1].properties[name], context
            )
        case tree.NthTest(events, number, where, window):
            ordered = in_order(events, of_user(events, window))
            return len(ordered) >= number and (where is None or _passes(where, ordered[number - 1], context))
        case tree.MostlyTest(name, events, window, condition):
            values = values_of(name, of_user(events, window))
            return any(satisfies(condition, value, context) for value in most_frequent(values))
        case tree.ShareTest(name, events, window, condition, op, value):
            values = values_of(name, of_user(events, window))
            held = sum(satisfies(condition, item, context) for item in values)
            return bool(values) and COMPARE[op](Fraction(held, len(values)), Fraction(repr(value)))
        case tree.RegularlyTest(events, times, unit, periods, of_last):
            ever = [event.ts for event in of_user(events, tree.ALWAYS)]
            counts = [sum(map(span.holds, ever)) for span in complete_periods(unit, of_last, context)]
            return sum(count >= times for count in counts) >= periods
        case tree.StoppedTest(events, earlier_window, later_window):
            return bool(of_user(events, earlier_window)) and not of_user(events, later_window)
        case tree.ResumedTest(events, gap):
            span = span_of_window(gap, context)
            times = [event.ts for event in of_user(events, tree.ALWAYS) if not span.holds(event.ts)]
            before = any(span.start is not None and ts <= span.start for ts in times)
            after = any(span.end is not None and ts >= span.end for ts in times)
            return before and after and not of_user(events, gap)
        case tree.Inactive(duration):
            window = tree.Last(duration)
            return not any(in_window(window, event.ts, context) for event in profile.events)
        case tree.ExpressionTest(left, op, right):
            sides = [number_of(side, of_user, context) for side in (left, right)]
            return None not in sides and COMPARE[op](*sides)
    raise AssertionError(f"no predicate over events: {node}")


# --------------------------------------------------------------------------------------------------------------- events


def done(events: tree.Events, window: tree.Window, profile: Profile, context: tree.Context) -> list[Event]:
    """The user's events of a set inside a window, by time, ties by arrival."""
    return [
        event
        for event in profile.events
        if inside(window, event.ts, profile, context) and _is_one_of(event, events, context)
    ]


def inside(window: tree.Window, ts: int, profile: Profile, context: tree.Context) -> bool:
    """Whether an instant lies in a window, which may be the user's own."""
    match window:
        case tree.WithinFirst(duration, names):
            firsts = [event.ts for event in profile.events if event.name in names]
            return bool(firsts) and min(firsts) <= ts <= min(firsts) + length_ms(duration)
        case tree.Since(attribute):
            start = profile.attributes.get(attribute)
            at = time_of(start, context)
            return at is not None and at <= ts
    return in_window(window, ts, context)


def _is_one_of(event: Event, events: tree.Events, context: tree.Context) -> bool:
    return event.name in events.names and (events.where is None or _passes(events.where, event, context))


def _passes(where: tree.Node, event: Event, context: tree.Context) -> bool:
    match where:
        case tree.All(items):
            return all(_passes(item, event, context) for item in items)
        case tree.Any(items):
            return any(_passes(item, event, context) for item in items)
        case tree.Not(item):
            return not _passes(item, event, context)
        case tree.DistanceTest():
            return distance_holds(where, event.properties)
        case tree.HourTest() | tree.WeekdayTest():
            return at_local_time(where, event.ts, context)
        case tree.PropertyTest(name, condition):
            return satisfies(condition, event.properties.get(name), context)
    raise AssertionError(f"no filter: {where}")


def _numbers(name: str, events: Iterable[Event]) -> list[int | float]:
    """The numeric values of a property: a boolean is no number, and a value of another type counts as missing."""
    return [value for event in events if is_number(value := event.properties.get(name))]


def _aggregate(aggregate: tree.Aggregate, numbers: list[int | float]) -> int | float | None:
    """The aggregate, None where it is undefined; the sum of nothing is 0."""
    match aggregate:
        case tree.Aggregate.SUM:
            return exact_sum(numbers)
        case tree.Aggregate.AVG:
            return mean(numbers) if numbers else None
        case tree.Aggregate.MIN:
            return min(numbers, default=None)
    return max(numbers, default=None)


# ------------------------------------------------------------------------------------------------------------ sequences


def deepest_step(report: tree.SequenceTest | tree.Funnel, profile: Profile, context: tree.Context) -> int:
    """Most steps any attempt completes; found by trying every choice of different events."""
    events = profile.events
    matching = [[i for i, event in enumerate(events) if _is_one_of(event, step, context)] for step in report.steps]
    matching[0] = [i for i in matching[0] if inside(report.window, events[i].ts, profile, context)]
    within = inf if report.within is None else length_ms(report.within)

    def may_follow(attempt: tuple[int, ...], i: int) -> bool:
        if not attempt:
            return True
        gap, total = events[i].ts - events[attempt[-1]].ts, events[i].ts - events[attempt[0]].ts
        in_order = gap > 0 if report.strict_ties else gap >= 0
        return in_order and i not in attempt and total <= within

    def longest(attempt: tuple[int, ...]) -> int:
        if len(attempt) == len(matching):
            return len(attempt)
        tried = (longest((*attempt, i)) for i in matching[len(attempt)] if may_follow(attempt, i))
        return max(tried, default=len(attempt))

    return longest(())
