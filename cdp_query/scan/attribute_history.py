"""Past values of an attribute, with their times. No other module of the query side reads the history of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, U32, Bools
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import Versions


@dataclass(frozen=True, slots=True)
class Changes:
    """Values an attribute took, sorted by (row, time); of several at one time only the last arrival is included.

    rows u32[n], times i64[n], kinds u8[n] (UNSET for a removal), raws i64[n] (values.py form).
    """

    rows: U32
    times: I64
    kinds: U8
    raws: I64

    def first_of_row(self) -> Bools:
        """Mask of the entries that are the first of their row: bool[n]."""
        first: Bools = np.ones(self.rows.shape[0], np.bool_)
        first[1:] = self.rows[1:] != self.rows[:-1]
        return first

    def last_of_row(self) -> Bools:
        """Mask of the entries that are the last of their row: bool[n]."""
        last: Bools = np.ones(self.rows.shape[0], np.bool_)
        last[:-1] = self.rows[1:] != self.rows[:-1]
        return last


def changes_of(view: PartitionView, attribute: int | None, until_ms: int, stats: NodeStats) -> Changes:
    """Every value the attribute took up to an instant."""
    versions = Versions.join([]) if attribute is None else view.attribute_versions(attribute)
    stats.chunks += 1
    stats.events += len(versions)
    stats.bytes += versions.nbytes
    versions = versions.take(versions.times <= until_ms)
    last: Bools = np.ones(len(versions), np.bool_)
    last[:-1] = (versions.rows[1:] != versions.rows[:-1]) | (versions.times[1:] != versions.times[:-1])
    kept = versions.take(last)
    return Changes(kept.rows, kept.times, kept.kinds, kept.raws)
