"""Upper bounds on the memory that parts of a question need on a partition, known before they are evaluated.

A part of a question needs arrays over rows, and some parts gather events. The sizes were measured and are rounded up
generously; tests compare the bounds with actual allocations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from cdp_query.bind import bound
from cdp_query.bind.bind_event_tests import BoundUserOccurrence, read_by
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest, measures_of
from cdp_query.bind.bound_profiles import (
    BoundBucket,
    BoundChanged,
    BoundDistance,
    BoundUnchanged,
    BoundValueAt,
    BoundWas,
)
from cdp_query.calendar.windows import Interval
from cdp_query.errors import QueryTooLarge
from cdp_query.limits import PART_BYTES_MAX
from cdp_store.limits import MIB, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.view import PartitionView

_ROW: Final = 80  # masks, counters, sums and instants of a row; a filter's window adds two instants
_FILTERED: Final = 16  # an event that passes a filter: masks, and rows of those that pass
_SUMMED: Final = 128  # an event with a summed number: rows, and the number in two halves while they are sorted
_GATHERED: Final = 160  # an event that is sorted by row with what it matches or holds
_CHANGE: Final = 160  # a value of an attribute's history
_MASKS: Final = 2  # bytes of a row for each group that a part is in
_EVER: Final = Interval(TIME_MIN_MS, TIME_MAX_MS)


def check_needs(node: bound.BoundNode, view: PartitionView, bytes_max: int = PART_BYTES_MAX) -> None:
    """Raises QueryTooLarge if a part of a segment may need more memory than one may."""
    check_bytes(needed_bytes(node, view), bytes_max)


def check_report_needs(events: Iterable[BoundEvents], view: PartitionView, bytes_max: int = PART_BYTES_MAX) -> None:
    """Raises QueryTooLarge if a report that gathers these events may need too much."""
    check_bytes(view.row_count * _ROW + _GATHERED * sum(_count(one, _EVER, view) for one in events), bytes_max)


def check_bytes(needed: int, bytes_max: int = PART_BYTES_MAX, *, exactly: Callable[[], int] | None = None) -> None:
    """Raises QueryTooLarge if a part of a question needs more memory in one partition than one may.

    Where `needed` is no more than a quick upper bound, `exactly` counts.
    """
    if needed > bytes_max and exactly is not None:
        needed = exactly()
    if needed > bytes_max:
        raise QueryTooLarge(
            f"a part of this question may need {needed // MIB:,} MiB of memory in one partition, and at most"
            f" {bytes_max // MIB:,} MiB are given; a shorter window, fewer event names or more partitions need less"
        )


def needed_bytes(node: bound.BoundNode, view: PartitionView) -> int:
    """Bytes that a segment's evaluation needs at most: one part at a time, and a mask or two per enclosing group."""
    rows = view.row_count * _ROW
    match node:
        case bound.BoundAll(items=items) | bound.BoundAny(items=items):
            return _MASKS * view.row_count + max((needed_bytes(item, view) for item in items), default=0)
        case bound.BoundNot(item=item):
            return _MASKS * view.row_count + needed_bytes(item, view)
        case BoundCount(events=events, interval=interval):
            return rows + (_FILTERED * _count(events, interval, view) if events.where is not None else 0)
        case BoundOccurrence(events=events):
            return rows + (_FILTERED * _count(events, _EVER, view) if events.where is not None else 0)
        case BoundAggregate(events=events, interval=interval):
            return rows + _SUMMED * _count(events, interval, view)
        case BoundExpressionTest(left=left, right=right):
            measures = (*measures_of(left), *measures_of(right))
            most = max((_count(measure.events, measure.interval, view) for measure in measures), default=0)
            return rows * max(len(measures), 1) + _GATHERED * most
        case (
            bound.BoundSequence(steps=steps, interval=interval, until_ms=until_ms)
            | BoundAttempts(steps=steps, interval=interval, until_ms=until_ms)
        ):
            reach = Interval(interval.first_ms, until_ms)
            excluded = (events for _, events in node.without) if isinstance(node, BoundAttempts) else ()
            # An event is gathered once however many steps it matches.
            names = tuple({name for events in (*steps, *excluded) for name in events.names})
            per_event = 2 * _GATHERED if isinstance(node, BoundAttempts) else _GATHERED
            return rows + per_event * _count(BoundEvents(names, None), reach, view)
        case BoundWas() | BoundChanged() | BoundUnchanged() | BoundValueAt():
            return rows + _CHANGE * _changes(node.attribute, view)
        case bound.BoundAttribute() | bound.BoundEveryone() | bound.BoundGiven() | BoundDistance() | BoundBucket():
            return rows
        case BoundUserOccurrence(events=events):
            return rows + _FILTERED * _count(events, _EVER, view)
    return rows + _GATHERED * sum(_count(node.events, interval, view) for interval in read_by(node))


def _count(events: BoundEvents, interval: Interval, view: PartitionView) -> int:
    """Events of the chunks that a window touches; the unsealed ones are few, and left out."""
    chunks = (chunk for name in events.names for chunk in view.events.sealed.get(name, ()))
    return sum(len(chunk) for chunk in chunks if interval.overlaps(chunk.first_ms, chunk.last_ms))


def _changes(attribute: int | None, view: PartitionView) -> int:
    chunks = () if attribute is None else view.changes.sealed.get(attribute, ())
    return view.row_count + sum(map(len, chunks)) + len(view.changes.delta)
