"""Profiles as tables: a row per profile of a morsel, with its time of creation and current attributes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cdp_store.arrays import I64, U16, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.limits import MORSEL_ROWS, SNAPSHOT_FILE_CELLS_MAX
from cdp_store.memory.view import PartitionView
from cdp_store.outside.checksums import crc32c_of
from cdp_store.profiles.attributes import AttributeBlock
from cdp_store.profiles.change_times import TimesReading
from cdp_store.profiles.profile_parts import BlockParts, MorselParts
from cdp_store.profiles.profile_times import NOT_CREATED, MorselTimes
from cdp_store.snapshot.arrow_tables import column_of, instants, instants_of, values_of
from cdp_store.snapshot.chunk_tables import column_array, column_entry, column_name, encoded
from cdp_store.snapshot.manifest import BlockEntry, ColumnEntry, MorselEntry
from cdp_store.values import Kind

ReadTable = Callable[[str], pa.Table]
WriteTable = Callable[[pa.Table], str]
_COLUMNS_MAX = SNAPSHOT_FILE_CELLS_MAX // MORSEL_ROWS  # of one file


@dataclass(frozen=True, slots=True)
class Morsel:
    """Profiles of one morsel as a view reads them."""

    first_row: int
    times: MorselTimes
    blocks: Mapping[int, AttributeBlock]

    def marks(self) -> tuple[int, int, int]:
        """Marks that change with new profiles or times."""
        first_set, created = self.times.first_set_ms(), self.times.created_ms()
        return self.times.rows, crc32c_of(first_set.tobytes()), crc32c_of(created.tobytes())


def morsels_of(view: PartitionView) -> Iterator[Morsel]:
    """The morsels of a partition, in order."""
    for number, times in enumerate(view.times.morsels):
        readings = ((name, reading.blocks) for name, reading in sorted(view.attributes.items()))
        held = ((name, blocks[number]) for name, blocks in readings if number < len(blocks))
        yield Morsel(number * MORSEL_ROWS, times, {name: block for name, block in held if block is not None})


@dataclass(frozen=True, slots=True)
class KnownMorsel:
    """A morsel as it was when files of it were written; blocks are replaced when they change."""

    marks: tuple[int, int, int]
    blocks: Mapping[int, weakref.ReferenceType[AttributeBlock]]
    entry: MorselEntry

    @staticmethod
    def of(morsel: Morsel, entry: MorselEntry) -> KnownMorsel:
        """State of a morsel that was written to files."""
        return KnownMorsel(morsel.marks(), {name: weakref.ref(each) for name, each in morsel.blocks.items()}, entry)

    def is_still(self, morsel: Morsel) -> bool:
        """True if nothing of it changed."""
        if self.blocks.keys() != morsel.blocks.keys() or self.marks != morsel.marks():
            return False
        return all(self.blocks[name]() is block for name, block in morsel.blocks.items())


def write_morsel(morsel: Morsel, names: Mapping[int, str], write: WriteTable) -> MorselEntry:
    """Writes the files of a morsel; returns its entry in the manifest."""
    rows = morsel.times.rows
    row = pa.array(np.arange(morsel.first_row, morsel.first_row + rows, dtype=np.uint32))
    columns: dict[str, pa.Array] = {"row": row, "created": instants(morsel.times.created_ms())}
    first_set = morsel.times.first_set
    if first_set is not None:
        columns["first_set"] = column_array(first_set, rows)
    files, entries = [columns], list[tuple[int, BlockEntry]]()
    for name, block in morsel.blocks.items():
        own = _block_columns(block, names[name])
        if len(files[-1]) + len(own) > _COLUMNS_MAX:
            files.append({"row": row})
        files[-1].update(own)
        kept = tuple(column_entry((name, kind), column) for kind, column in sorted(block.columns.items()))
        entries.append((len(files) - 1, BlockEntry("", name, kept, block.changed is not None)))
    written = [write(pa.table(each)) for each in files]
    blocks = tuple(BlockEntry(written[at], each.attribute, each.columns, each.changed) for at, each in entries)
    kept_first = None if first_set is None else column_entry((0, Kind.TIME), first_set)
    return MorselEntry(written[0], rows, kept_first, morsel.times.latest_created_ms, blocks)


def _block_columns(block: AttributeBlock, name: str) -> dict[str, pa.Array]:
    columns = {column_name(name, kind): column_array(each, block.rows) for kind, each in sorted(block.columns.items())}
    if block.changed is not None:
        columns[f"{name}:changed"] = _differing(block.changed, block.rows)
    return columns


def _differing(reading: TimesReading, rows: int) -> pa.Array:
    times: I64 = np.zeros(rows, np.int64)
    absent: Bools = np.ones(rows, np.bool_)
    given, differing = reading.given()
    times[given], absent[given] = differing, False
    return instants(times, absent)


def read_morsel(entry: MorselEntry, names: Sequence[str], read: ReadTable) -> MorselParts:
    """The parts of a morsel, from files that `write_morsel` wrote."""
    tables = {entry.file: read(entry.file)}
    first_set, first_ms = None, np.full(entry.rows, NOT_CREATED, np.int64)
    if entry.first_set is not None:
        first_set = _column(tables[entry.file], "first_set", entry.first_set)
        presence = first_set.presence()
        first_ms = first_set.integers() if presence is None else np.where(presence, first_set.integers(), first_ms)
    created = instants_of(tables[entry.file], "created")
    differs = np.flatnonzero(created != first_ms)
    blocks = dict[int, BlockParts]()
    for block in entry.blocks:
        if block.file not in tables:
            tables[block.file] = read(block.file)
        blocks[block.attribute] = _block(tables[block.file], block, names[block.attribute])
    return MorselParts(first_set, differs.astype(np.uint16), created[differs], entry.latest_created_ms, blocks)


def _block(table: pa.Table, entry: BlockEntry, name: str) -> BlockParts:
    columns = [_column(table, column_name(name, Kind(each.kind)), each) for each in entry.columns]
    rows: U16 = np.zeros(0, np.uint16)
    times: I64 = np.zeros(0, np.int64)
    if entry.changed:
        changed = column_of(table, f"{name}:changed")
        given = np.flatnonzero(changed.is_valid().to_numpy(zero_copy_only=False))
        rows, times = given.astype(np.uint16), values_of(changed)[given].astype(np.int64)
    return BlockParts(columns, rows, times)


def _column(table: pa.Table, name: str, entry: ColumnEntry) -> EventColumn:
    column = column_of(table, name)
    present = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
    return encoded(entry, values_of(column), present)
