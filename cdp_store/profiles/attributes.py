"""Attribute values: the current value of each row, in narrow blocks, and since when it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U8, U16, U32, AnyArray, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.columns.morsels import by_morsel
from cdp_store.columns.value_block import ValueBlock
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.limits import MORSEL_BITS, MORSEL_ROWS, TIME_MIN_MS
from cdp_store.profiles.change_times import ChangeTimes, TimesReading
from cdp_store.profiles.profile_parts import BlockParts
from cdp_store.values import Kind, float_bits

NEVER: Final = TIME_MIN_MS - 1  # the time of an attribute that was never set


@dataclass(frozen=True, slots=True)
class Versions:
    """Values of one attribute with the time each was set: rows u32[n], times i64[n], kinds u8[n] (UNSET for a removal),
    raws i64[n] (values.py form)."""

    rows: U32
    times: I64
    kinds: U8
    raws: I64

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.rows.nbytes + self.times.nbytes + self.kinds.nbytes + self.raws.nbytes

    def take(self, chosen: Bools | npt.NDArray[np.intp]) -> Versions:
        """The chosen versions."""
        return Versions(self.rows[chosen], self.times[chosen], self.kinds[chosen], self.raws[chosen])

    @staticmethod
    def join(parts: list[Versions]) -> Versions:
        """The versions of all parts, one part after the other."""
        return Versions(
            np.concatenate([np.zeros(0, np.uint32), *(part.rows for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.times for part in parts)]),
            np.concatenate([np.zeros(0, np.uint8), *(part.kinds for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.raws for part in parts)]),
        )


@dataclass(frozen=True, slots=True, weakref_slot=True)
class AttributeBlock:
    """The values of one morsel: a column per kind, like an event chunk's, its entry i the value of the morsel's row i.

    A column ends with the last row it has room for, at most `rows`; its presence (None: all its entries) says which
    rows hold a value of that kind, and no row holds two. `changed` are the times of values that were not set when the
    row's attributes were first set, and of those removed since. `described` keeps what compiled kernels are told about
    each column.
    """

    rows: int
    columns: Mapping[Kind, EventColumn]
    changed: TimesReading | None
    described: dict[Kind, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)

    def kinds(self) -> U8:
        """Kind of each row's value: u8[rows]."""
        kinds: U8 = np.zeros(self.rows, np.uint8)
        for kind, column in self.columns.items():
            covered, presence = kinds[: column.values.shape[0]], column.presence()
            if presence is None:
                covered[:] = kind
            else:
                covered[presence] = kind
        return kinds

    def at(self, local: I64) -> tuple[U8, I64]:
        """Kinds u8[n], UNSET for no value, and raws i64[n] of some rows of the morsel."""
        kinds: U8 = np.zeros(local.shape[0], np.uint8)
        raws: I64 = np.zeros(local.shape[0], np.int64)
        for kind, column in self.columns.items():
            covered = np.flatnonzero(local < column.values.shape[0])
            taken = column.take(local[covered])
            presence = taken.presence()
            given = slice(None) if presence is None else presence
            kinds[covered[given]], raws[covered[given]] = kind, taken.raws()[given]
        return kinds, raws


@dataclass(frozen=True, slots=True)
class AttributeReading:
    """A stable reading of one attribute: a block per morsel, None if no row ever had a value.

    `latest_ms` is the time of the newest change: an instant before it needs the history too.
    """

    blocks: tuple[AttributeBlock | None, ...]
    latest_ms: int

    def values(self, rows: U32) -> tuple[U8, I64]:
        """Kinds u8[n], UNSET for no value, and raws i64[n] of some rows."""
        kinds: U8 = np.zeros(rows.shape[0], np.uint8)
        raws: I64 = np.zeros(rows.shape[0], np.int64)
        for morsel, local, where in by_morsel(rows):
            block = self.blocks[morsel] if morsel < len(self.blocks) else None
            if block is not None:
                kinds[where], raws[where] = block.at(local.astype(np.int64))
        return kinds, raws

    def raw(self, row: int) -> tuple[Kind, int]:
        """Kind and 64-bit form of one row's value."""
        morsel, local = row >> MORSEL_BITS, row & (MORSEL_ROWS - 1)
        block = self.blocks[morsel] if morsel < len(self.blocks) else None
        for kind, column in {} if block is None else block.columns.items():
            if _holds(column, local):
                return kind, int(replace(column, values=column.values[local : local + 1], present=None).raws()[0])
        return Kind.UNSET, 0


def _holds(column: EventColumn, row: int) -> bool:
    if row >= column.values.shape[0]:
        return False
    return column.present is None or bool(column.present[row >> 3] >> (row & 7) & 1)


class _Morsel:
    """One attribute in one morsel."""

    __slots__ = ("changed", "columns", "reading")

    def __init__(self) -> None:
        self.columns = dict[Kind, ValueBlock]()
        self.changed = ChangeTimes()
        self.reading: AttributeBlock | None = None

    def current(self, local: U16, first_set_ms: I64) -> tuple[I64, U8, I64]:
        """(since when, kind, raw) of rows; the time is NEVER if the attribute was never set."""
        kinds: U8 = np.zeros(local.shape[0], np.uint8)
        raws: I64 = np.zeros(local.shape[0], np.int64)
        for kind, column in self.columns.items():
            held = column.has(local)
            if held.any():
                kinds[held] = kind
                raws[held] = column.raws(local[held])
        differs, times = self.changed.find(local)
        usual = np.where(kinds != Kind.UNSET, first_set_ms, NEVER)
        return np.where(differs, times, usual), kinds, raws

    def put(self, local: U16, times: I64, kinds: U8, raws: I64, before: U8, usual: Bools) -> None:
        """Gives rows, each named once, values in place of those of the kinds `before`; `usual` ones need no time."""
        for kind in np.unique(before[before != kinds]):
            if kind != Kind.UNSET:
                self.columns[Kind(kind)].clear(local[(before == kind) & (kinds != kind)])
        for kind in np.unique(kinds):
            if kind != Kind.UNSET:
                chosen = slice(None) if kinds.min() == kinds.max() else kinds == kind
                self.columns.setdefault(Kind(kind), ValueBlock(Kind(kind))).put(local[chosen], raws[chosen])
        self.changed.put(local[~usual], times[~usual])
        self.reading = None

    def capture(self, rows: int) -> AttributeBlock:
        if self.reading is None or self.reading.rows != rows:
            readings = {kind: column.reading(rows) for kind, column in self.columns.items()}
            columns = {kind: column for kind, column in readings.items() if column is not None}
            self.reading = AttributeBlock(rows, columns, self.changed.reading(rows))
        return self.reading

    @property
    def nbytes(self) -> int:
        return self.changed.nbytes + sum(column.nbytes for column in self.columns.values())


class AttributeColumn:
    """The current value of one attribute for all rows, with the time it was set."""

    def __init__(self, latest_ms: int = NEVER) -> None:
        self._morsels = list[_Morsel | None]()
        self._latest_ms = latest_ms

    def load(self, number: int, parts: BlockParts) -> None:
        """Loads the values of a morsel that holds none yet."""
        morsel = self._reach(number)
        morsel.columns = {column.kind: ValueBlock.of(column) for column in parts.columns}
        morsel.changed.put(parts.changed_rows, parts.changed_times)

    def apply(self, changes: Versions, first_set_ms: I64) -> Versions:
        """Applies changes in order of arrival: the latest time wins, ties go to the later arrival.

        first_set_ms i64[n] is that of each change's row. Returns the history: values that were current until now,
        then late ones; among those of one row and time in order of arrival.
        """
        self._latest_ms = max(self._latest_ms, int(changes.times.max(initial=NEVER)))
        if not bool(np.all(changes.rows[1:] > changes.rows[:-1])):
            order = order_by_row_time(changes.rows, changes.times)
            changes, first_set_ms = changes.take(order), first_set_ms[order]
        last: Bools = np.ones(len(changes), np.bool_)
        last[:-1] = changes.rows[1:] != changes.rows[:-1]
        superseded = list[Versions]()
        late: Bools = ~last
        lasts = np.flatnonzero(last)
        for morsel, local, among in by_morsel(changes.rows[lasts]):
            where = lasts[among]
            loses = self._apply_morsel(morsel, local, changes.take(where), first_set_ms[where], superseded)
            late[where[loses]] = True
        return Versions.join([*superseded, changes.take(late)])

    def _apply_morsel(
        self, number: int, local: U16, changes: Versions, first_set_ms: I64, superseded: list[Versions]
    ) -> Bools:
        """Applies one change to each of some rows; returns a mask of the changes that came too late: bool[n]."""
        morsel = self._reach(number)
        times, kinds, raws = morsel.current(local, first_set_ms)
        loses: Bools = changes.times < times
        replaced = ~loses & (times != NEVER)
        if replaced.any():
            superseded.append(Versions(changes.rows, times, kinds, raws).take(replaced))
        wins = ~loses
        if wins.any():
            won = changes.take(wins)
            differs, _ = morsel.changed.find(local[wins])
            usual = (won.times == first_set_ms[wins]) & (won.kinds != Kind.UNSET) & ~differs
            morsel.put(local[wins], won.times, won.kinds, won.raws, kinds[wins], usual)
        return loses

    def current(self, rows: U32, first_set_ms: I64) -> Versions:
        """Values that rows have, and since when; the time is before all times if the attribute was never set."""
        times: I64 = np.full(rows.shape[0], NEVER, np.int64)
        kinds: U8 = np.zeros(rows.shape[0], np.uint8)
        raws: I64 = np.zeros(rows.shape[0], np.int64)
        for number, local, where in by_morsel(rows):
            morsel = self._morsels[number] if number < len(self._morsels) else None
            if morsel is not None:
                times[where], kinds[where], raws[where] = morsel.current(local, first_set_ms[where])
        return Versions(rows, times, kinds, raws)

    @property
    def latest_ms(self) -> int:
        """Time of the newest change."""
        return self._latest_ms

    def capture(self, row_count: int) -> AttributeReading:
        """A reading that later changes leave alone."""
        starts = range(0, row_count, MORSEL_ROWS)
        blocks = (
            None if morsel is None else morsel.capture(min(row_count - start, MORSEL_ROWS))
            for start, morsel in zip(starts, self._morsels, strict=False)
        )
        return AttributeReading(tuple(blocks), self._latest_ms)

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return sum(morsel.nbytes for morsel in self._morsels if morsel is not None)

    def _reach(self, number: int) -> _Morsel:
        while len(self._morsels) <= number:
            self._morsels.append(None)
        morsel = self._morsels[number]
        if morsel is None:
            morsel = self._morsels[number] = _Morsel()
        return morsel


def block_at(block: AttributeBlock, set_after: Bools, instant_ms: int, kinds: U8, raws: I64) -> AttributeBlock:
    """A block at an instant; kinds u8[rows] and raws i64[rows] are the values that preceded the current ones.

    `set_after` bool[rows] are rows whose attributes were first set after the instant, or never. A present value is
    never older than the history of its row.
    """
    newer = set_after.copy()
    if block.changed is not None:
        rows, times = block.changed.given()
        newer[rows] = times > instant_ms
    later = np.flatnonzero(newer)
    if not later.size:
        return block
    columns = dict[Kind, EventColumn]()
    before = kinds[later]
    for kind in {*block.columns, *(Kind(kind) for kind in np.flatnonzero(np.bincount(before)).tolist() if kind)}:
        given = later[before == kind]
        held: Bools = np.zeros(block.rows, np.bool_)
        present = block.columns.get(kind)
        if present is not None:
            presence = present.presence()
            held[: present.values.shape[0]] = True if presence is None else presence
            held[later] = False
        held[given] = True
        if held.any():
            columns[kind] = _with_values(kind, present, held, given, raws[given])
    return AttributeBlock(block.rows, columns, None)


Positions = npt.NDArray[np.intp]


def _with_values(kind: Kind, present: EventColumn | None, held: Bools, given: Positions, raws: I64) -> EventColumn:
    """A column of the rows held: the given ones with these values, the others as they are."""
    if present is not None and _fits(present, raws):
        values = np.zeros(held.shape[0], present.values.dtype)
        values[: present.values.shape[0]] = present.values
        values[given] = (raws - present.base).astype(values.dtype)
        bitmap = None if held.all() else np.packbits(held, bitorder="little")
        return replace(present, values=values, present=bitmap, low=0, high=int(np.iinfo(values.dtype).max))
    plain: I64 = np.zeros(held.shape[0], np.int64)
    if present is not None:
        plain[: present.values.shape[0]] = present.raws()
    plain[given] = raws
    return _dense_column(kind, plain, held)


def _fits(column: EventColumn, raws: I64) -> bool:
    """True if values, raw, fit the encoding of a column of integers or codes."""
    if column.kind is Kind.FLOAT or column.values.dtype.kind != "u":
        return False
    low, high = column.base, column.base + int(np.iinfo(column.values.dtype).max)
    return bool(raws.size == 0 or (int(raws.min()) >= low and int(raws.max()) <= high))


def _dense_column(kind: Kind, raws: I64, held: Bools) -> EventColumn:
    own: I64 = np.where(held, raws, 0)  # a row of another kind must not be read as a code
    values: AnyArray = float_bits(own) if kind is Kind.FLOAT else own
    present = None if held.all() else np.packbits(held, bitorder="little")
    return EventColumn(
        kind=kind, values=values, present=present, base=0, scale=0, low=values.min().item(), high=values.max().item()
    )


def current_versions(reading: AttributeReading, first_set: Iterator[I64]) -> Versions:
    """Current version of each row, removals included, by row; `first_set` gives each morsel's first times."""
    parts = list[Versions]()
    for number, (block, first_ms) in enumerate(zip(reading.blocks, first_set, strict=False)):
        if block is not None:
            parts.append(_block_versions(block, first_ms, number << MORSEL_BITS))
    return Versions.join(parts)


def _block_versions(block: AttributeBlock, first_ms: I64, first_row: int) -> Versions:
    kinds, times = block.kinds(), first_ms.copy()
    if block.changed is not None:
        rows, differing = block.changed.given()
        times[rows] = differing
    raws: I64 = np.zeros(block.rows, np.int64)
    for kind, column in block.columns.items():
        held = np.flatnonzero(kinds[: column.values.shape[0]] == kind)
        raws[held] = column.raws()[held]
    chosen = touched_rows(block)
    return Versions((chosen + first_row).astype(np.uint32), times[chosen], kinds[chosen], raws[chosen])


def touched_rows(block: AttributeBlock) -> I64:
    """The rows of a morsel that have a value, or had one that was removed, counted from its first."""
    touched = block.kinds() != Kind.UNSET
    if block.changed is not None:
        rows, _ = block.changed.given()
        touched[rows] = True
    return np.flatnonzero(touched)
