"""Predicates over buckets."""

from __future__ import annotations

from cdp_query.bind.bound_profiles import BoundBucket
from cdp_query.stats import NodeStats
from cdp_store.arrays import Bools
from cdp_store.memory.view import PartitionView


def bucket_mask(view: PartitionView, node: BoundBucket, stats: NodeStats) -> Bools:
    """Mask of the rows in the wanted buckets: bool[row_count]."""
    buckets = view.buckets
    stats.bytes += buckets.nbytes
    stats.rows += view.row_count
    mask: Bools = (buckets >= node.first) & (buckets <= node.last)
    return mask
