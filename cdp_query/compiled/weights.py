"""Estimated work of the parts of a segment over all partitions: the cheapest of a group is evaluated first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdp_query.bind import bound
from cdp_query.bind.bind_event_tests import BoundPhases, BoundRecency
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest, measures_of
from cdp_query.compiled.bound_program import Names
from cdp_query.compiled.sources import EventKey, event_source
from cdp_store.memory.view import PartitionView

_RUN = 1.0  # per event, in units of one row compared: runs alone are read
_EVENT = 3.0  # events are looked at
_SEARCHED = 40.0  # per row: its text is searched, only if no other part has decided the row
_FOLLOWED = 5.0  # steps are counted, then gathered


@dataclass(frozen=True, slots=True)
class Weights:
    """The sizes of what the parts of a segment read."""

    views: Sequence[PartitionView]
    names: Names
    rows: int
    _sizes: dict[tuple[int, ...], int] = field(default_factory=dict)  # events by names

    @classmethod
    def of(cls, views: Sequence[PartitionView], names: Names) -> Weights:
        """The sizes of these partitions."""
        return cls(views, names, sum([view.row_count for view in views]))

    def weigh(self, node: bound.BoundNode) -> float:
        """The estimate of a part."""
        match node:
            case bound.BoundAll(items=items) | bound.BoundAny(items=items):
                return sum(map(self.weigh, items))
            case bound.BoundNot(item=item):
                return self.weigh(item)
            case BoundCount(events=events) | BoundOccurrence(events=events):
                return self.rows + self._events(events) * (_RUN if events.where is None else _EVENT)
            case BoundRecency(events=events) | BoundPhases(events=events) | BoundAggregate(events=events):
                return self.rows + self._events(events) * _EVENT
            case bound.BoundSequence(steps=steps):
                return self.rows + _FOLLOWED * sum(map(self._events, steps))
            case BoundExpressionTest(left=left):
                return self.rows + _EVENT * sum(self._events(part.events) for part in measures_of(left))
            case bound.BoundAttribute(matcher=matcher) if matcher.substring is not None:
                return self.rows * _SEARCHED
        return self.rows

    def _events(self, events: BoundEvents) -> int:
        known = self._sizes.get(events.names)
        if known is None:
            key = EventKey(tuple([self.names.events[at] for at in events.names]), None, False)
            known = self._sizes[events.names] = sum([event_source(view, key).chunks.events for view in self.views])
        return known
