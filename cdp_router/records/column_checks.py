"""Rejected records of Arrow columns, with the first reason of each, without an object per record.

Also small functions that all columns need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cdp_router.errors import RecordInvalid
from cdp_router.limits import ERRORS_TOLD_MAX
from cdp_store.arrays import I32, I64, Bools

Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
Invalid = list[tuple[int, RecordInvalid]]
Reason = RecordInvalid | Callable[[int], RecordInvalid]  # of all records, or made for each reported record
FIELD: Final = "batch.arrow_columns"
_NONE: Final = -1


class Checks:
    """Collects the rejected records; a reason is kept once, however many records it rejects."""

    def __init__(self, count: int) -> None:
        self._reasons = list[Reason]()
        self._reason_of: I32 = np.full(count, _NONE, np.int32)
        self.keep: Bools = np.ones(count, np.bool_)

    def reject(self, bad: Bools, reason: Reason) -> None:
        """Rejects the records with `bad`: bool[n]."""
        self.reject_at(np.flatnonzero(bad), reason)

    def reject_at(self, records: Positions, reason: Reason) -> None:
        """Rejects some records by their positions."""
        records = records[self.keep[records]]
        if records.size:
            self._reason_of[records] = len(self._reasons)
            self._reasons.append(reason)
            self.keep[records] = False

    def reject_each(self, records: Positions, numbers: I64, reasons: Mapping[int, RecordInvalid]) -> None:
        """Rejects the records whose number has a reason."""
        if not reasons or not numbers.size:
            return
        reason_of: I32 = np.full(max(int(numbers.max()), *reasons) + 1, _NONE, np.int32)
        for number, reason in reasons.items():
            reason_of[number] = len(self._reasons)
            self._reasons.append(reason)
        found = reason_of[numbers]
        bad = (found != _NONE) & self.keep[records]
        # If a record occurs twice, the first reason stays.
        self._reason_of[records[bad][::-1]] = found[bad][::-1]
        self.keep[records[bad]] = False

    def invalid(self, told_max: int = ERRORS_TOLD_MAX) -> Invalid:
        """Position and reason of the first rejected records, by position."""
        out = np.flatnonzero(~self.keep)[:told_max].tolist()
        reasons = (self._reasons[number] for number in self._reason_of[out].tolist())
        return [(at, each(at) if callable(each) else each) for at, each in zip(out, reasons, strict=True)]

    @property
    def invalid_count(self) -> int:
        """Number of rejected records."""
        return int(np.count_nonzero(~self.keep))


def bools_of(column: Any) -> Bools:
    """A column of booleans without nulls: bool[n]."""
    flags: Bools = column.to_numpy(zero_copy_only=False).astype(np.bool_)
    return flags


def is_string(kind: pa.DataType) -> bool:
    """True for a type of texts other than a dictionary."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: pa.DataType) -> bool:
    """True for a type of lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined
