"""Events in the order of their times, chunk after chunk.

Most chunks of a name follow each other in time, so that a kernel with a state per row can process them in turn. Chunks
with overlapping times (of several names, or not yet compacted) are merged first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.scan.merged import merged
from cdp_query.scan.scan import Scanned, scan
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U32
from cdp_store.memory.view import PartitionView

Group = tuple[Scanned, ...]  # of one


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events sorted by (row, time); at equal times names in the order of the question, then order of arrival.

    rows u32[n], times i64[n] epoch ms, sources u32[n] the chunk of the group, positions i64[n] inside that chunk.
    """

    rows: U32
    times: I64
    sources: U32
    positions: I64


def groups(view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats) -> Iterator[Group]:
    """Scanned chunks, those that overlap in time merged to one; every group comes after the groups before it."""
    found = sorted(enumerate(scan(view, events, interval, stats)), key=lambda entry: entry[1].chunk.first_ms)
    open_group, end_ms = list[tuple[int, Scanned]](), 0
    for number, scanned in found:
        stats.bytes += scanned.chunk.times.nbytes
        if open_group and scanned.chunk.first_ms > end_ms:
            yield _as_one(open_group)
            open_group = []
        end_ms = max(end_ms, scanned.chunk.last_ms) if open_group else scanned.chunk.last_ms
        open_group.append((number, scanned))
    if open_group:
        yield _as_one(open_group)


def _as_one(group: Sequence[tuple[int, Scanned]]) -> Group:
    in_order = [scanned for _, scanned in sorted(group, key=lambda entry: entry[0])]
    return tuple(in_order) if len(in_order) == 1 else (Scanned(merged(in_order), None),)


def stretch(group: Group) -> Stretch:
    """The events of a group that count, sorted."""
    (scanned,) = group
    rows, times, chosen = scanned.rows(), scanned.times(), scanned.events()
    positions: I64 = np.arange(len(scanned.chunk)) if chosen is None else chosen
    return Stretch(rows, times, np.zeros(rows.shape[0], np.uint32), positions)
