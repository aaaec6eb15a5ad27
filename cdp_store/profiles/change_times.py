"""Times that differ from a row's usual one, kept only for those rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U16, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.columns.value_block import ValueBlock
from cdp_store.limits import SPARSE_TIMES_MAX
from cdp_store.values import Kind

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TimesReading:
    """Times of some rows of a morsel: rows u16[n] ascending with times i64[n], or, if they are many, a column."""

    rows: U16
    times: I64
    column: EventColumn | None

    def given(self) -> tuple[Rows, I64]:
        """(rows, ascending, times) of all that differ."""
        if self.column is None:
            return self.rows.astype(np.intp), self.times
        presence = self.column.presence()
        rows = np.arange(self.column.values.shape[0]) if presence is None else np.flatnonzero(presence)
        return rows, self.column.integers()[rows]


class ChangeTimes:
    """The times of one morsel: a sorted list while they are few, then a block."""

    __slots__ = ("_block", "_rows", "_times")

    def __init__(self) -> None:
        self._rows: U16 = np.zeros(0, np.uint16)
        self._times: I64 = np.zeros(0, np.int64)
        self._block: ValueBlock | None = None

    def find(self, local: U16) -> tuple[Bools, I64]:
        """(mask of the rows that have a time here, bool[n]; the times, i64[n], 0 for the others)."""
        times: I64 = np.zeros(local.shape[0], np.int64)
        if self._block is not None:
            held = self._block.has(local)
            times[held] = self._block.raws(local[held])
        elif self._rows.size:
            at = np.minimum(np.searchsorted(self._rows, local), self._rows.shape[0] - 1)
            held = self._rows[at] == local
            times[held] = self._times[at[held]]
        else:
            held = np.zeros(local.shape[0], np.bool_)
        return held, times

    def put(self, local: U16, times: I64) -> None:
        """Gives times to rows, each named once."""
        if not local.size:
            return
        if self._block is None:
            self._merge(local, times)
            if self._rows.shape[0] <= SPARSE_TIMES_MAX:
                return
            local, times, self._block = self._rows, self._times, ValueBlock(Kind.TIME)
            self._rows, self._times = self._rows[:0].copy(), self._times[:0].copy()
        self._block.put(local, times)

    def reading(self, rows: int) -> TimesReading | None:
        """The times of the first `rows` rows at this moment."""
        column = None if self._block is None else self._block.reading(rows)
        return None if column is None and not self._rows.size else TimesReading(self._rows, self._times, column)

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return self._rows.nbytes + self._times.nbytes + (0 if self._block is None else self._block.nbytes)

    def _merge(self, local: U16, times: I64) -> None:
        # New arrays each time: readers may hold the old ones.
        rows: U16 = np.concatenate([self._rows, local])
        order = np.argsort(rows, kind="stable")
        last: Bools = np.ones(order.shape[0], np.bool_)
        last[:-1] = rows[order[1:]] != rows[order[:-1]]
        order = order[last]
        self._rows, self._times = rows[order], np.concatenate([self._times, times])[order]
