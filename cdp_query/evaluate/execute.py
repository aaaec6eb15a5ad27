"""A planned question over a view: the only place where plan and kernels meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from cdp_query.bind import bound
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest
from cdp_query.bind.bound_profiles import (
    BoundBucket,
    BoundChanged,
    BoundDistance,
    BoundUnchanged,
    BoundValueAt,
    BoundWas,
)
from cdp_query.bind.twins import repeated
from cdp_query.evaluate.buckets import bucket_mask
from cdp_query.evaluate.event_counts import aggregate_mask, count_mask, occurrence_mask
from cdp_query.evaluate.event_leaves import event_leaf_mask
from cdp_query.evaluate.history_tests import history_mask
from cdp_query.evaluate.numeric_expressions import expression_mask
from cdp_query.evaluate.ruled_attempts import attempts_mask
from cdp_query.evaluate.sequences import sequence_depth
from cdp_query.scan.attribute_scan import attribute_mask
from cdp_query.scan.distances import distance_mask
from cdp_query.scan.narrowed import narrowed, whole_of
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import Meter, NodeStats
from cdp_query.tree import Context
from cdp_store.arrays import U8, Bools
from cdp_store.memory.view import PartitionView

Checkpoint = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Execution:
    """One evaluation on one partition: its view, its instant, and its statistics.

    `checkpoint` is called before every node and raises QueryCancelled to stop the evaluation. `kept` are the masks, as
    bits, of the parts that occur in several places of a segment; None until they are evaluated.
    """

    view: PartitionView
    context: Context
    meter: Meter
    checkpoint: Checkpoint
    kept: dict[int, U8 | None] = field(default_factory=dict)

    def members(self, segment: bound.BoundNode) -> Bools:
        """Mask of the rows that satisfy a segment: bool[row_count], rows outside of the population included."""
        return replace(self, kept=dict.fromkeys(repeated(segment))).mask(segment)

    def mask(self, node: bound.BoundNode) -> Bools:
        """Mask of the rows that satisfy a node: bool[row_count], rows outside of the population included.

        In a narrowed view the mask is defined only for the wanted rows. The parts of `and` and `or` are evaluated for
        the rows that earlier parts have left undecided; their results for other rows change nothing.
        """
        self.checkpoint()
        if node.id in self.kept:
            return self._kept(node)
        return self._mask(node)

    def _kept(self, node: bound.BoundNode) -> Bools:
        """The mask of a part that occurs in several places, evaluated for all rows the first time."""
        bits = self.kept[node.id]
        if bits is None:
            bits = self.kept[node.id] = np.packbits(replace(self, view=whole_of(self.view))._mask(node))
        return np.unpackbits(bits, count=self.view.row_count).view(np.bool_)

    def _mask(self, node: bound.BoundNode) -> Bools:
        with self.meter.timed(node.id) as stats:
            if isinstance(node, BoundCount | BoundAggregate):
                events = anchored(node.events, self.view, stats)
                node = node if events is node.events else replace(node, events=events)
            mask = self._evaluate(node, stats)
            stats.rows_true += int(np.count_nonzero(mask))
        return mask

    def _evaluate(self, node: bound.BoundNode, stats: NodeStats) -> Bools:
        match node:
            case bound.BoundAll(items=items):
                return self._all(items)
            case bound.BoundAny(items=items):
                return self._any(items)
            case bound.BoundNot(item=item):
                return ~self.mask(item)
            case bound.BoundEveryone():
                return np.ones(self.view.row_count, np.bool_)
            case bound.BoundGiven(mask=mask):
                return mask
            case bound.BoundAttribute():
                return attribute_mask(self.view, node, self.context.as_of_ms, stats)
            case BoundCount():
                return count_mask(self._read_by(node.events), node, stats)
            case BoundAggregate():
                return aggregate_mask(self.view, node, stats)
            case BoundOccurrence():
                return occurrence_mask(self._read_by(node.events), node, stats)
            case BoundDistance():
                return distance_mask(self.view, node, self.context.as_of_ms, stats)
            case BoundBucket():
                return bucket_mask(self.view, node, stats)
            case BoundWas() | BoundChanged() | BoundUnchanged() | BoundValueAt():
                return history_mask(self.view, node, self.context.as_of_ms, stats)
            case BoundExpressionTest():
                return expression_mask(self.view, node, stats)
            case BoundAttempts():
                return attempts_mask(self.view, node, stats)
            case bound.BoundSequence():
                reached: Bools = sequence_depth(self.view, node, stats) == len(node.steps)
                return reached
        return event_leaf_mask(self.view, node, stats)

    def _all(self, items: tuple[bound.BoundNode, ...]) -> Bools:
        mask: Bools = np.ones(self.view.row_count, np.bool_)
        for item in items:
            if not mask.any():
                break
            mask &= self._about(mask).mask(item)
        return mask

    def _any(self, items: tuple[bound.BoundNode, ...]) -> Bools:
        mask: Bools = np.zeros(self.view.row_count, np.bool_)
        for item in items:
            if mask.all() and mask.size:
                break
            mask |= self._about(~mask).mask(item)
        return mask

    def _about(self, undecided: Bools) -> Execution:
        """Evaluation of parts whose result is needed for some rows only."""
        view = narrowed(self.view, undecided)
        return self if view is self.view else replace(self, view=view)

    def _read_by(self, events: BoundEvents) -> PartitionView:
        """View to read events from: the whole view if there is no filter.

        Counting or marking all events of a name costs less than finding those of some rows.
        """
        return whole_of(self.view) if events.where is None else self.view
