"""Counters of an evaluation, per node of the question; mergeable across partitions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

REPORT: Final = 0  # the number of a report among the nodes of a question


@dataclass(slots=True)
class NodeStats:
    """Counters of one node.

    `rows`: profiles whose attribute or bucket was read. `evaluations`: partitions where the node was evaluated; it is
    skipped where earlier parts had decided. `truncated`: profiles of which retention may have dropped events that
    matter.
    """

    chunks: int = 0
    chunks_pruned: int = 0
    events: int = 0
    bytes: int = 0
    rows_true: int = 0
    type_mismatch: int = 0
    nanoseconds: int = 0
    rows: int = 0
    evaluations: int = 0
    truncated: int = 0

    def add(self, other: NodeStats) -> None:
        """Add another node's counters to these."""
        # Written out: this is done for every part of a question and every partition.
        self.chunks += other.chunks
        self.chunks_pruned += other.chunks_pruned
        self.events += other.events
        self.bytes += other.bytes
        self.rows_true += other.rows_true
        self.type_mismatch += other.type_mismatch
        self.nanoseconds += other.nanoseconds
        self.rows += other.rows
        self.evaluations += other.evaluations
        self.truncated += other.truncated


class Meter:
    """Collects NodeStats by node id while a question is evaluated."""

    def __init__(self) -> None:
        self._nodes = dict[int, NodeStats]()

    def node(self, node: int) -> NodeStats:
        """Counters of a node, created on first use."""
        return self._nodes.setdefault(node, NodeStats())

    @contextmanager
    def timed(self, node: int) -> Iterator[NodeStats]:
        """Add the time spent inside to the node's counters."""
        stats, started = self.node(node), time.perf_counter_ns()
        stats.evaluations += 1
        try:
            yield stats
        finally:
            stats.nanoseconds += time.perf_counter_ns() - started

    def add(self, stats: Mapping[int, NodeStats]) -> None:
        """Adds counters by node id."""
        for node, own in stats.items():
            self.node(node).add(own)

    def nodes(self) -> Mapping[int, NodeStats]:
        """Counters by node id."""
        return self._nodes


def merge_stats(first: Mapping[int, NodeStats], second: Mapping[int, NodeStats]) -> dict[int, NodeStats]:
    """Node-wise sums."""
    merged = dict[int, NodeStats]()
    for part in (first, second):
        for node, stats in part.items():
            merged.setdefault(node, NodeStats()).add(stats)
    return merged


def total(stats: Mapping[int, NodeStats]) -> NodeStats:
    """Sum over all nodes; time is not additive over nested nodes and is left out."""
    whole = NodeStats()
    for part in stats.values():
        whole.add(part)
    whole.nanoseconds = whole.rows_true = whole.evaluations = 0
    return whole
