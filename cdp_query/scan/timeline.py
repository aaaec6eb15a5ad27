"""Events in the order of their times, chunk after chunk.

Most chunks of a name follow each other in time, so that a kernel with a state per row can process them in turn. Chunks
with overlapping times (of several names, or not yet merged) are sorted together first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.scan.scan import Scanned, scan
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U32
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView

Group = tuple[Scanned, ...]


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
    """Scanned chunks, those that overlap in time together; every group comes after the groups before it."""
    found = sorted(enumerate(scan(view, events, interval, stats)), key=lambda entry: entry[1].chunk.first_ms)
    open_group, end_ms = list[tuple[int, Scanned]](), 0
    for number, scanned in found:
        stats.bytes += scanned.chunk.times.nbytes
        if open_group and scanned.chunk.first_ms > end_ms:
            yield _in_order(open_group)
            open_group = []
        end_ms = max(end_ms, scanned.chunk.last_ms) if open_group else scanned.chunk.last_ms
        open_group.append((number, scanned))
    if open_group:
        yield _in_order(open_group)


def _in_order(group: Sequence[tuple[int, Scanned]]) -> Group:
    return tuple(scanned for _, scanned in sorted(group, key=lambda entry: entry[0]))


def stretch(group: Group) -> Stretch:
    """The events of a group that count, sorted."""
    rows: U32 = np.concatenate([scanned.rows() for scanned in group])
    times: I64 = np.concatenate([scanned.times() for scanned in group])
    chosen = [scanned.events() for scanned in group]
    places = [np.arange(len(one.chunk)) if at is None else at for one, at in zip(group, chosen, strict=True)]
    sources: U32 = np.repeat(np.arange(len(group), dtype=np.uint32), [at.shape[0] for at in places])
    positions: I64 = np.concatenate(places).astype(np.int64)
    if len(group) == 1:
        return Stretch(rows, times, sources, positions)
    order = order_by_row_time(rows, times)
    return Stretch(rows[order], times[order], sources[order], positions[order])
