"""Predicates over events beyond counts and aggregates, and filters on an event's time: bound forms and binding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cdp_query import tree
from cdp_query.bind.binding import Binding
from cdp_query.bind.bound_counts import BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import (
    BoundEvents,
    BoundFilter,
    BoundProperty,
    FilterAll,
    FilterHours,
    FilterUserWindow,
    FilterWeekdays,
    conjuncts,
)
from cdp_query.calendar.windows import Interval, complete_periods, minus, resolve, zone
from cdp_query.errors import QueryInvalid
from cdp_query.limits import REGULARLY_PERIODS_MAX
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import Range
from cdp_query.tree import Edge, Occurrence, Op
from cdp_store.limits import TIME_MIN_MS


@dataclass(frozen=True, slots=True)
class BoundUserOccurrence:
    """The first or last event up to `until_ms` lies in the user's own window."""

    id: int
    occurrence: Occurrence
    events: BoundEvents
    window: FilterUserWindow
    until_ms: int


@dataclass(frozen=True, slots=True)
class BoundRecency:
    """The last event in the interval compares with `at_ms`; no event counts as before everything."""

    id: int
    events: BoundEvents
    interval: Interval
    op: Op
    at_ms: int


@dataclass(frozen=True, slots=True)
class BoundEdgeValue:
    """A filter on the first or last event in the interval; `events` are those that have the property."""

    id: int
    edge: Edge
    events: BoundEvents
    interval: Interval
    test: BoundFilter


@dataclass(frozen=True, slots=True)
class BoundNth:
    """A filter, if any, on the n-th event in the interval (`number`)."""

    id: int
    events: BoundEvents
    interval: Interval
    number: int
    test: BoundFilter | None


@dataclass(frozen=True, slots=True)
class BoundMostly:
    """A most frequent value of the property satisfies the matcher."""

    id: int
    property: int | None
    events: BoundEvents
    interval: Interval
    matcher: Matcher


@dataclass(frozen=True, slots=True)
class BoundShare:
    """The share of events whose value satisfies the matcher compares with `share`."""

    id: int
    property: int | None
    events: BoundEvents
    interval: Interval
    matcher: Matcher
    op: Op
    share: Fraction


@dataclass(frozen=True, slots=True)
class BoundRegularly:
    """At least `times` events in each of at least `periods` periods, which last from one of the starts to the next."""

    id: int
    events: BoundEvents
    starts_ms: tuple[int, ...]
    times: int
    periods: int


@dataclass(frozen=True, slots=True)
class BoundPhases:
    """Events in each of the wanted intervals and none in the others."""

    id: int
    events: BoundEvents
    wanted: tuple[Interval, ...]
    unwanted: tuple[Interval, ...]


BoundEventTest = (
    BoundUserOccurrence
    | BoundRecency
    | BoundEdgeValue
    | BoundNth
    | BoundMostly
    | BoundShare
    | BoundRegularly
    | BoundPhases
)


def read_by(node: BoundEventTest) -> tuple[Interval, ...]:
    """The intervals whose events a predicate reads."""
    match node:
        case BoundUserOccurrence(until_ms=until_ms):
            return (Interval(TIME_MIN_MS, until_ms),)
        case BoundRecency(interval=interval, at_ms=at_ms):
            return (Interval(at_ms, interval.last_ms),)
        case BoundRegularly(starts_ms=starts_ms):
            return (Interval(starts_ms[0], starts_ms[-1] - 1),)
        case BoundPhases(wanted=wanted, unwanted=unwanted):
            return (*wanted, *unwanted)
    return (node.interval,)


def bind_occurrence(
    node: tree.OccurrenceTest, own: int, binding: Binding
) -> BoundEventTest | BoundCount | BoundOccurrence:
    """The first or last event ever, in a window of all users or of each."""
    events, until_ms, window = binding.events(node.events), binding.context.as_of_ms, node.window
    if isinstance(window, tree.WithinFirst | tree.Since):
        return BoundUserOccurrence(own, node.occurrence, events, binding.user_window(window), until_ms)
    return BoundOccurrence(own, node.occurrence, events, binding.interval(window), until_ms)


def bind_event_test(node: tree.EventTest, own: int, binding: Binding) -> BoundEventTest | BoundCount | BoundOccurrence:
    """The bound form of a predicate over events."""
    match node:
        case tree.RecencyTest(events, op, duration, window):
            inside, interval = binding.windowed(events, window)
            return BoundRecency(own, inside, interval, op, _earlier_ms(duration, binding.context))
        case tree.Inactive(duration):
            everything = BoundEvents(tuple(sorted(binding.schema.events.values())), None)
            interval = resolve(tree.Last(duration), binding.context)
            return BoundCount(own, everything, interval, Range(low=0, high=0), False, False)
        case tree.EdgeValueTest() | tree.MostlyTest() | tree.ShareTest():
            return _value_test(node, own, binding)
        case tree.NthTest(events, number, where, window):
            if number < 1:
                raise QueryInvalid(f"nth(...) counts from 1, not from {number}")
            inside, interval = binding.windowed(events, window)
            test = None if where is None else binding.filter(where)
            return BoundNth(own, inside, interval, number, test)
        case tree.RegularlyTest():
            return _regularly(node, own, binding)
        case tree.StoppedTest(events, earlier, later):
            before, after = binding.interval(earlier), binding.interval(later)
            if before.last_ms >= after.first_ms:
                raise QueryInvalid("stopped(...): the first window must end before the second begins")
            return BoundPhases(own, binding.events(events), (before,), (after,))
        case tree.ResumedTest(events, window):
            gap = binding.interval(window)
            if gap.last_ms >= binding.context.as_of_ms:
                raise QueryInvalid("resumed(...): the gap must end before now, as in ago: 7d..60d")
            around = Interval(TIME_MIN_MS, gap.first_ms - 1), Interval(gap.last_ms + 1, binding.context.as_of_ms)
            return BoundPhases(own, binding.events(events), around, (gap,))


def _value_test(
    node: tree.EdgeValueTest | tree.MostlyTest | tree.ShareTest, own: int, binding: Binding
) -> BoundEventTest | BoundCount | BoundOccurrence:
    condition = node.condition
    if isinstance(condition, tree.Exists | tree.SizeTest | tree.VersionTest | tree.Anniversary | tree.ItemsTest):
        raise QueryInvalid(f"{type(condition).__name__} asks nothing of one value; use did(...) with a filter")
    events, interval = binding.windowed(node.events, node.window)
    key, matcher = binding.schema.properties.get(node.property), binding.matcher(condition)
    match node:
        case tree.EdgeValueTest(edge):
            present = BoundProperty(key, Matcher(everything=True))
            where = present if events.where is None else FilterAll((*conjuncts(events.where), present))
            having = BoundEvents(events.names, where)
            return BoundEdgeValue(own, edge, having, interval, BoundProperty(key, matcher))
        case tree.MostlyTest():
            return BoundMostly(own, key, events, interval, matcher)
        case tree.ShareTest(op=op, value=value):
            # Exactly as written: 0.4 is four tenths, not the float64 next to it.
            return BoundShare(own, key, events, interval, matcher, op, Fraction(repr(value)))


def _regularly(node: tree.RegularlyTest, own: int, binding: Binding) -> BoundEventTest | BoundCount | BoundOccurrence:
    if node.times < 1:
        raise QueryInvalid(f"regularly(...) needs at least 1 per {node.unit}, not {node.times}")
    if not 1 <= node.periods <= node.of_last <= REGULARLY_PERIODS_MAX:
        given = f"{node.periods} of last {node.of_last}"
        raise QueryInvalid(f"regularly(...): {given} is not 1 to k of the last k, with k up to {REGULARLY_PERIODS_MAX}")
    starts = complete_periods(node.unit, node.of_last, binding.context)
    return BoundRegularly(own, binding.events(node.events), starts, node.times, node.periods)


def bind_time_filter(node: tree.TimeFilter, tz: str) -> FilterHours | FilterWeekdays:
    """The bound form of a filter on the hour or the day of the week."""
    match node:
        case tree.HourTest(first, last):
            if not (0 <= first <= 23 and 0 <= last <= 24) or first == last:
                raise QueryInvalid(f"hour() in {first}..{last}: hours go from 0 to 24 and the two differ, as in 9..17")
            inside = range(first, last) if first < last else (*range(first, 24), *range(last))
            return FilterHours(frozenset(inside), tz)
        case tree.WeekdayTest(days):
            if not days or not days <= set(range(1, 8)):
                raise QueryInvalid("weekday() takes some of the days from 1, Monday, to 7, Sunday")
            return FilterWeekdays(days, tz)


def _earlier_ms(duration: tree.Duration, context: tree.Context) -> int:
    return max(minus(context.as_of_ms, duration, zone(context.tz)), TIME_MIN_MS)
