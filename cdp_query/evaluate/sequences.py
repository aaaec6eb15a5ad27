"""Sequences and funnels with steps that an event can fill several of: the depth that each user reached."""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bound import BoundSequence
from cdp_query.evaluate.ruled_attempts import events_of_steps, under_plain_rules
from cdp_query.kernels import sequence
from cdp_query.stats import NodeStats
from cdp_store.arrays import U8
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView


def sequence_depth(view: PartitionView, node: BoundSequence, stats: NodeStats) -> U8:
    """Most steps any attempt of each row completed: u8[row_count]."""
    depth: U8 = np.zeros(view.row_count, np.uint8)
    events, _ = events_of_steps(view, under_plain_rules(node), stats)
    if events is not None:
        order = order_by_row_time(events.rows, events.times)
        own = events.rows[order], events.times[order], events.steps[order]
        sequence.sequence_depth(*own, len(node.steps), node.within_ms, node.strict_ties, depth)
    return depth
