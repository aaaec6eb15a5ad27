"""Summaries that retention keeps of dropped events: per profile their number, first time and last time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import compact
from cdp_store.events.layout import Chunks, Layout


@dataclass(frozen=True, slots=True)
class Summary:
    """Dropped events of one name, all before `cutoff_ms`: rows u32[n] ascending, counts, first_ms, last_ms i64[n]."""

    cutoff_ms: int
    rows: U32
    counts: I64
    first_ms: I64
    last_ms: I64

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.rows.nbytes + self.counts.nbytes + self.first_ms.nbytes + self.last_ms.nbytes

    def merge(self, other: Summary) -> Summary:
        """The dropped events of both."""
        rows = np.concatenate([self.rows, other.rows])
        order = np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.diff(rows[order], prepend=np.int64(-1)))
        counts, first, last = (
            np.concatenate(pair)[order]
            for pair in (
                (self.counts, other.counts),
                (self.first_ms, other.first_ms),
                (self.last_ms, other.last_ms),
            )
        )
        if not starts.size:
            return Summary(max(self.cutoff_ms, other.cutoff_ms), rows, counts, first, last)
        return Summary(
            max(self.cutoff_ms, other.cutoff_ms),
            rows[order][starts],
            np.add.reduceat(counts, starts),
            np.minimum.reduceat(first, starts),
            np.maximum.reduceat(last, starts),
        )

    def without(self, gone: Bools, ranks: U32) -> Summary:
        """The summary of the rows that stay, under the numbers `ranks` gives them."""
        kept = ~gone[self.rows]
        columns = (self.counts[kept], self.first_ms[kept], self.last_ms[kept])
        return Summary(self.cutoff_ms, ranks[self.rows[kept]], *columns)


def nothing_before(cutoff_ms: int) -> Summary:
    """The summary of no events."""
    none = np.zeros(0, np.int64)
    return Summary(cutoff_ms, np.zeros(0, np.uint32), none, none, none)


def drop_before(chunks: Sequence[EventChunk], cutoff_ms: int, layout: Layout) -> tuple[Chunks, Summary]:
    """(the remaining events of chunks of one name, the summary of those before a cutoff)."""
    kept, summary = list[EventChunk](), nothing_before(cutoff_ms)
    for chunk in chunks:
        if chunk.first_ms >= cutoff_ms:
            kept.append(chunk)
            continue
        rows, times = chunk.full_rows(), chunk.full_times()
        old = times < cutoff_ms
        summary = summary.merge(_summarised(rows[old], times[old], cutoff_ms))
        if not old.all():
            kept.extend(compact([chunk], layout, ~old))
    return tuple(kept), summary


def _summarised(rows: U32, times: I64, cutoff_ms: int) -> Summary:
    """The summary of events sorted by (row, time)."""
    starts = np.flatnonzero(np.diff(rows, prepend=np.int64(-1)))
    stops = np.append(starts[1:], rows.shape[0])
    return Summary(cutoff_ms, rows[starts], stops - starts, times[starts], times[stops - 1])
