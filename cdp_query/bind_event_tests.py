"""Binding predicates over events beyond counts and aggregates, and filters on an event's time."""

from __future__ import annotations

from cdp_query import bound, tree
from cdp_query.binding import Binding
from cdp_query.bound_event_tests import BoundRecency, BoundUserOccurrence
from cdp_query.bound_events import BoundEvents, FilterHours, FilterWeekdays
from cdp_query.errors import QueryInvalid
from cdp_query.ranges import Range
from cdp_query.windows import minus, resolve, zone
from cdp_store.limits import TIME_MIN_MS
from cdp_store.values import to_datetime, to_ms


def bind_occurrence(node: tree.OccurrenceTest, own: int, binding: Binding) -> bound.BoundNode:
    """The first or last event ever, in a window of all users or of each."""
    events, until_ms, window = binding.events(node.events), binding.context.as_of_ms, node.window
    if isinstance(window, tree.WithinFirst | tree.Since):
        return BoundUserOccurrence(own, node.occurrence, events, binding.user_window(window), until_ms)
    return bound.BoundOccurrence(own, node.occurrence, events, binding.interval(window), until_ms)


def bind_event_test(node: tree.EventTest, own: int, binding: Binding) -> bound.BoundNode:
    """The bound form of a predicate over events."""
    match node:
        case tree.RecencyTest(events, op, duration, window):
            inside, interval = binding.windowed(events, window)
            return BoundRecency(own, inside, interval, op, _earlier_ms(duration, binding.context))
        case tree.Inactive(duration):
            everything = BoundEvents(tuple(sorted(binding.schema.events.values())), None)
            interval = resolve(tree.Last(duration), binding.context)
            return bound.BoundCount(own, everything, interval, Range(low=0, high=0), False, False)


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
    try:
        earlier = to_ms(minus(to_datetime(context.as_of_ms), duration, zone(context.tz)))
    except (OverflowError, ValueError) as error:
        raise QueryInvalid(f"{duration} before the question's instant is beyond the calendar") from error
    return max(earlier, TIME_MIN_MS)
