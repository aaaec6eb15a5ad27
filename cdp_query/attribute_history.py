"""What an attribute was and when: the only place of the query side that reads the history of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, U32, Bools
from cdp_store.view import PartitionView


@dataclass(frozen=True, slots=True)
class Changes:
    """Values an attribute took, sorted by (row, time); of several at one time only the last arrival is in it.

    rows u32[n], times i64[n], kinds u8[n] (UNSET where the value was removed), raws i64[n] (values.py form).
    """

    rows: U32
    times: I64
    kinds: U8
    raws: I64

    def first_of_row(self) -> Bools:
        """Which entries are the first of their row: bool[n]."""
        first: Bools = np.ones(self.rows.shape[0], np.bool_)
        first[1:] = self.rows[1:] != self.rows[:-1]
        return first

    def last_of_row(self) -> Bools:
        """Which entries are the last of their row: bool[n]."""
        last: Bools = np.ones(self.rows.shape[0], np.bool_)
        last[:-1] = self.rows[1:] != self.rows[:-1]
        return last


def changes_of(view: PartitionView, attribute: int | None, until_ms: int, stats: NodeStats) -> Changes:
    """Every value the attribute took up to an instant."""
    parts = list[Changes]()
    for chunk in () if attribute is None else view.changes.chunks(attribute):
        stats.chunks += 1
        if chunk.first_ms > until_ms:
            stats.chunks_pruned += 1
            continue
        stats.events += len(chunk)
        stats.bytes += chunk.nbytes
        kinds: U8 = np.zeros(len(chunk), np.uint8)
        raws: I64 = np.zeros(len(chunk), np.int64)
        for (_, kind), column in chunk.columns.items():
            presence = column.presence()
            given = slice(None) if presence is None else presence
            kinds[given] = kind
            raws[given] = column.raws()[given]
        parts.append(Changes(chunk.full_rows(), chunk.full_times(), kinds, raws))
    return _in_order(parts, until_ms)


def _in_order(parts: list[Changes], until_ms: int) -> Changes:
    """One sorted whole of parts in order of arrival inside equal times."""
    rows: U32 = np.concatenate([np.zeros(0, np.uint32), *(part.rows for part in parts)])
    times: I64 = np.concatenate([np.zeros(0, np.int64), *(part.times for part in parts)])
    kinds: U8 = np.concatenate([np.zeros(0, np.uint8), *(part.kinds for part in parts)])
    raws: I64 = np.concatenate([np.zeros(0, np.int64), *(part.raws for part in parts)])
    order = np.lexsort((times, rows))
    order = order[times[order] <= until_ms]
    rows, times = rows[order], times[order]
    last: Bools = np.ones(order.shape[0], np.bool_)
    last[:-1] = (rows[1:] != rows[:-1]) | (times[1:] != times[:-1])
    kept = order[last]
    return Changes(rows[last], times[last], kinds[kept], raws[kept])
