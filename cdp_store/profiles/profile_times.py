"""Times of profiles: when each was created, and when its attributes were first set.

Most profiles get all their attributes in one record, and it is their first: one time per row is enough. Other times
are kept apart (`ChangeTimes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U16, U32, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.columns.morsels import by_morsel
from cdp_store.columns.value_block import ValueBlock
from cdp_store.limits import MORSEL_ROWS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.profiles.change_times import ChangeTimes, TimesReading
from cdp_store.profiles.profile_parts import MorselParts
from cdp_store.values import Kind

NOT_CREATED: Final = TIME_MAX_MS + 1


@dataclass(frozen=True, slots=True)
class MorselTimes:
    """One morsel: first time of attributes by row, times of creation that differ from it, and the latest creation."""

    rows: int
    first_set: EventColumn | None
    created: TimesReading | None
    latest_created_ms: int

    def first_set_ms(self) -> I64:
        """Time when the attributes of each row were first set, NOT_CREATED if never: i64[rows]."""
        times: I64 = np.full(self.rows, NOT_CREATED, np.int64)
        if self.first_set is not None:
            presence, given = self.first_set.presence(), self.first_set.integers()
            covered = times[: given.shape[0]]
            covered[:] = given if presence is None else np.where(presence, given, NOT_CREATED)
        return times

    def set_after(self, instant_ms: int) -> Bools:
        """Mask of the rows whose attributes were first set after an instant, or never: bool[rows]."""
        after: Bools = np.ones(self.rows, np.bool_)
        if self.first_set is not None:
            values, presence = self.first_set.values, self.first_set.presence()
            bounds, limit = np.iinfo(values.dtype), instant_ms - self.first_set.base
            if limit >= bounds.min:
                later: Bools = values > min(limit, int(bounds.max))
                after[: values.shape[0]] = later if presence is None else later | ~presence
        return after

    def created_by(self, instant_ms: int) -> Bools:
        """Mask of the rows that were created at or before an instant: bool[rows]."""
        if self.latest_created_ms <= instant_ms:
            return np.ones(self.rows, np.bool_)
        created = ~self.set_after(instant_ms)
        if self.created is not None:
            rows, differing = self.created.given()
            created[rows] = differing <= instant_ms
        return created

    def created_ms(self) -> I64:
        """Time when each row was created: i64[rows]."""
        times = self.first_set_ms()
        if self.created is not None:
            rows, differing = self.created.given()
            times[rows] = differing
        return times


@dataclass(frozen=True, slots=True)
class ProfileTimesReading:
    """A stable reading of all morsels."""

    morsels: tuple[MorselTimes, ...]

    def created_ms(self) -> I64:
        """Time when each row was created: i64[rows]."""
        return np.concatenate([np.zeros(0, np.int64), *(morsel.created_ms() for morsel in self.morsels)])

    def created_ms_of(self, row: int) -> int:
        """Time when one row was created."""
        return int(self.morsels[row // MORSEL_ROWS].created_ms()[row % MORSEL_ROWS])

    def created_by(self, instant_ms: int) -> Bools:
        """Mask of rows created at or before an instant: bool[rows]. Reads only morsels that are not wholly older."""
        return np.concatenate([np.zeros(0, np.bool_), *(morsel.created_by(instant_ms) for morsel in self.morsels)])


class ProfileTimes:
    """The times of all rows of a partition."""

    def __init__(self) -> None:
        self._first = list[ValueBlock]()
        self._created = list[ChangeTimes]()
        self._latest_created = list[int]()

    def update(self, rows: U32, first_set_ms: I64, earliest_ms: I64) -> I64:
        """Updates the times of rows, each named once, from a batch.

        `first_set_ms` are times of the first attribute record to arrive (NOT_CREATED without any), `earliest_ms`
        those of the earliest record.  Returns when the attributes of each row were first set, i64[n].
        """
        first: I64 = np.empty(rows.shape[0], np.int64)
        for morsel, local, where in by_morsel(rows):
            self._reach(morsel)
            first[where] = self._take_first(self._first[morsel], local, first_set_ms[where])
            self._lower_created(morsel, local, first[where], earliest_ms[where])
        return first

    def load(self, number: int, parts: MorselParts) -> None:
        """Loads the times of a morsel that holds none yet."""
        self._reach(number)
        if parts.first_set is not None:
            self._first[number] = ValueBlock.of(parts.first_set)
        self._created[number].put(parts.created_rows, parts.created_times)
        self._latest_created[number] = parts.latest_created_ms

    def first_set_ms(self, rows: U32) -> I64:
        """Time when the attributes of rows were first set, NOT_CREATED if never: i64[n]."""
        first: I64 = np.full(rows.shape[0], NOT_CREATED, np.int64)
        for morsel, local, where in by_morsel(rows):
            if morsel < len(self._first):
                first[where] = self._take_first(self._first[morsel], local, first[where])
        return first

    def forget(self, rows: U32) -> None:
        """Marks rows, each named once, as created at no instant."""
        for morsel, local, _ in by_morsel(rows):
            self._created[morsel].put(local, np.full(local.shape[0], NOT_CREATED, np.int64))
            self._latest_created[morsel] = NOT_CREATED

    def _take_first(self, block: ValueBlock, local: U16, offered_ms: I64) -> I64:
        times = offered_ms.copy()
        known = block.has(local)
        times[known] = block.raws(local[known])
        fresh = ~known & (offered_ms != NOT_CREATED)
        if fresh.any():
            block.put(local[fresh], offered_ms[fresh])
        return times

    def _lower_created(self, morsel: int, local: U16, first_ms: I64, earliest_ms: I64) -> None:
        differs, differing = self._created[morsel].find(local)
        known = np.where(differs, differing, first_ms)
        lower = earliest_ms < known
        self._created[morsel].put(local[lower], earliest_ms[lower])
        self._latest_created[morsel] = max(self._latest_created[morsel], int(np.minimum(known, earliest_ms).max()))

    def capture(self, row_count: int) -> ProfileTimesReading:
        """A reading of the first `row_count` rows that later writes do not change."""
        morsels = list[MorselTimes]()
        for number, first_row in enumerate(range(0, row_count, MORSEL_ROWS)):
            rows = min(row_count - first_row, MORSEL_ROWS)
            first_set, created = self._first[number].reading(rows), self._created[number].reading(rows)
            morsels.append(MorselTimes(rows, first_set, created, self._latest_created[number]))
        return ProfileTimesReading(tuple(morsels))

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return sum(part.nbytes for parts in (self._first, self._created) for part in parts)

    def _reach(self, morsel: int) -> None:
        while len(self._first) <= morsel:
            self._first.append(ValueBlock(Kind.TIME))
            self._created.append(ChangeTimes())
            self._latest_created.append(TIME_MIN_MS)
