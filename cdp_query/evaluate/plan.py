"""The order in which a partition evaluates a question: cheap and selective parts first."""

from __future__ import annotations

from dataclasses import replace

from cdp_query.bind import bound
from cdp_query.bind.bind_event_tests import read_by
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest, measures_of
from cdp_query.bind.bound_profiles import (
    BoundBucket,
    BoundChanged,
    BoundDistance,
    BoundHistory,
    BoundUnchanged,
    BoundValueAt,
    BoundWas,
)
from cdp_query.calendar.windows import Interval
from cdp_store.memory.view import PartitionView

_ATTRIBUTE_COST_PER_ROW = 1.0
_TEXT_COST = 8.0
_EVENT_COST = 2.0
_MEASURE_COST = 4.0
_SEQUENCE_COST = 20.0
_HISTORY_COST = 20.0


def plan(node: bound.BoundNode, view: PartitionView) -> bound.BoundNode:
    """The question with the items of every `and` and `or` ordered by estimated cost; ties keep their order."""
    return _planned(node, view)[1]


def _planned(node: bound.BoundNode, view: PartitionView) -> tuple[float, bound.BoundNode]:
    """(estimated work in units of one row compared, node with its items in order)."""
    if isinstance(node, bound.BoundAll | bound.BoundAny):
        work, ordered = _ordered(node.items, view)
        return work, replace(node, items=ordered)
    if isinstance(node, bound.BoundNot):
        work, inner = _planned(node.item, view)
        return work, replace(node, item=inner)
    return _cost(node, view), node


def _ordered(items: tuple[bound.BoundNode, ...], view: PartitionView) -> tuple[float, tuple[bound.BoundNode, ...]]:
    planned = sorted((_planned(item, view) for item in items), key=lambda pair: pair[0])
    return sum(work for work, _ in planned), tuple(item for _, item in planned)


def _cost(node: bound.BoundLeaf, view: PartitionView) -> float:
    match node:
        case bound.BoundAttribute():
            return _ATTRIBUTE_COST_PER_ROW * view.row_count + _TEXT_COST * _texts(node, view)
        case BoundDistance() | BoundBucket():
            return _ATTRIBUTE_COST_PER_ROW * view.row_count * 4
        case BoundWas() | BoundChanged() | BoundUnchanged() | BoundValueAt():
            return _HISTORY_COST * _changes(node, view) + view.row_count
        case bound.BoundSequence() | BoundAttempts():
            return _SEQUENCE_COST * sum(_events(step, node, view) for step in node.steps)
        case BoundCount() | BoundAggregate() | BoundOccurrence():
            return _EVENT_COST * _events(node.events, node, view) + view.row_count
        case BoundExpressionTest(left=left, right=right):
            parts = (*measures_of(left), *measures_of(right))
            return sum(_MEASURE_COST * _inside(part.events, part.interval, view) + view.row_count for part in parts)
        case bound.BoundEveryone() | bound.BoundGiven():
            return 0.0
    return sum(_MEASURE_COST * _inside(node.events, interval, view) for interval in read_by(node)) + view.row_count


def _texts(node: bound.BoundAttribute, view: PartitionView) -> int:
    """Number of distinct strings that must be tested; 0 for literals, which are looked up."""
    if node.attribute is None or node.matcher.text is None or node.matcher.literals is not None:
        return 0
    return len(view.string_arena(node.attribute, attribute=True)[0]) - 1


def _changes(node: BoundHistory, view: PartitionView) -> int:
    chunks = () if node.attribute is None else view.changes.sealed.get(node.attribute, ())
    return sum(map(len, chunks)) + len(view.changes.delta)


def _events(
    events: BoundEvents,
    node: BoundCount | BoundAggregate | BoundOccurrence | bound.BoundSequence | BoundAttempts,
    view: PartitionView,
) -> int:
    chunks = (chunk for name in events.names for chunk in view.events.sealed.get(name, ()))
    reaches_back = isinstance(node, BoundOccurrence)
    return sum(len(chunk) for chunk in chunks if reaches_back or node.interval.overlaps(chunk.first_ms, chunk.last_ms))


def _inside(events: BoundEvents, interval: Interval, view: PartitionView) -> int:
    chunks = (chunk for name in events.names for chunk in view.events.sealed.get(name, ()))
    return sum(len(chunk) for chunk in chunks if interval.overlaps(chunk.first_ms, chunk.last_ms))
