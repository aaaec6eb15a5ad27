"""Rejected records of Arrow columns, with the first reason of each, without an object per record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from cdp_router.errors import RecordInvalid
from cdp_router.limits import ERRORS_TOLD_MAX
from cdp_store.arrays import I32, I64, Bools

Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
Invalid = list[tuple[int, RecordInvalid]]
_NONE: Final = -1


class Checks:
    """Collects which records are out; a reason is kept once, however many records it rejects."""

    def __init__(self, count: int) -> None:
        self._reasons = list[RecordInvalid]()
        self._reason_of: I32 = np.full(count, _NONE, np.int32)
        self.keep: Bools = np.ones(count, np.bool_)

    def reject(self, bad: Bools, code: str, message: str) -> None:
        """Take out the records with `bad`: bool[n]."""
        self._take_out(np.flatnonzero(bad & self.keep), RecordInvalid(code, message))

    def reject_at(self, records: Positions, code: str, message: str) -> None:
        """Take out some records by their positions."""
        self._take_out(records[self.keep[records]], RecordInvalid(code, message))

    def reject_each(self, records: Positions, numbers: I64, reasons: Mapping[int, RecordInvalid]) -> None:
        """Take out those records whose number has a reason."""
        if not reasons or not numbers.size:
            return
        reason_of: I32 = np.full(max(int(numbers.max()), *reasons) + 1, _NONE, np.int32)
        for number, reason in reasons.items():
            reason_of[number] = len(self._reasons)
            self._reasons.append(reason)
        found = reason_of[numbers]
        bad = (found != _NONE) & self.keep[records]
        # Where one record comes twice, the first reason stays.
        self._reason_of[records[bad][::-1]] = found[bad][::-1]
        self.keep[records[bad]] = False

    def invalid(self, told_max: int = ERRORS_TOLD_MAX) -> Invalid:
        """Position and reason of the first records taken out, by position."""
        out = np.flatnonzero(~self.keep)[:told_max].tolist()
        return [(at, self._reasons[number]) for at, number in zip(out, self._reason_of[out].tolist(), strict=True)]

    @property
    def invalid_count(self) -> int:
        """Number of records that were taken out."""
        return int(np.count_nonzero(~self.keep))

    def _take_out(self, records: Positions, reason: RecordInvalid) -> None:
        if records.size:
            self._reason_of[records] = len(self._reasons)
            self._reasons.append(reason)
            self.keep[records] = False
