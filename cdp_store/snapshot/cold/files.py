"""Cold files of a snapshot: new rows are written, removed ones left out, many small files become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow as pa

from cdp_store.errors import SnapshotDamaged
from cdp_store.ids import PartitionId
from cdp_store.limits import COLD_FILE_ROWS, SNAPSHOT_SMALL_FILE_ROWS, SNAPSHOT_SMALL_FILES_MAX
from cdp_store.snapshot.arrow_tables import from_parquet
from cdp_store.snapshot.cold.cold_tables import completed, joined
from cdp_store.snapshot.cold.logged_rows import ColdSource
from cdp_store.snapshot.cold.removals import Removals
from cdp_store.snapshot.manifest import FileEntry
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.reader import check_file

AddFile = Callable[[PartitionId, str, pa.Table], str]
Names = tuple[str, ...]


class ColdFiles:
    """Writes the cold files of one snapshot; `problems` names files that could not be read."""

    def __init__(self, add: AddFile, place: SnapshotPlace, known: Mapping[str, FileEntry]) -> None:
        self._add, self._place = add, place
        self._rows = {name: entry.rows for name, entry in known.items()}
        self._known = known
        self.problems = list[str]()

    def write(self, source: ColdSource, held: Mapping[PartitionId, Names]) -> dict[PartitionId, Names]:
        """By partition, the files with the rows of `held` and of the source, in order of arrival."""
        nothing = Removals()
        files = {
            partition: list(self._without(partition, names, source.removals.get(partition, nothing)))
            for partition, names in held.items()
        }
        for partition, table in _in_file_sizes(source.tables()):
            files[partition].append(self._written(partition, table))
        return {partition: tuple(self._with_fewer_files(partition, names)) for partition, names in files.items()}

    def _written(self, partition: PartitionId, table: pa.Table) -> str:
        name = self._add(partition, "cold", table)
        self._rows[name] = table.num_rows
        return name

    def _without(self, partition: PartitionId, names: Names, removals: Removals) -> Iterator[str]:
        """The files; those that hold a removed row are rewritten."""
        if not removals:
            yield from names
            return
        for name in names:
            table = self._read(name)
            if table is None:
                continue  # unknown whether it holds anything of an erased profile
            staying = removals.staying(table, is_older=True)
            if staying is table:
                yield name
            elif staying.num_rows:
                yield self._written(partition, staying)

    def _with_fewer_files(self, partition: PartitionId, names: Sequence[str]) -> Iterator[str]:
        for small, run in groupby(names, lambda name: self._rows[name] < SNAPSHOT_SMALL_FILE_ROWS):
            group = list(run)
            if not small or len(group) <= SNAPSHOT_SMALL_FILES_MAX:
                yield from group
                continue
            tables = [table for name in group if (table := self._read(name)) is not None]
            if len(tables) < len(group):
                yield from group
            else:
                yield self._written(partition, joined(tables))

    def _read(self, name: str) -> pa.Table | None:
        try:
            entry = self._known.get(name)
            data = self._place.read(name) if entry is None else check_file(self._place, name, entry)
            return completed(from_parquet(name, data))
        except SnapshotDamaged as error:
            self.problems.append(str(error))
            return None


def _in_file_sizes(tables: Iterator[tuple[PartitionId, pa.Table]]) -> Iterator[tuple[PartitionId, pa.Table]]:
    """The tables of each partition joined until they fill a file."""
    waiting = dict[PartitionId, list[pa.Table]]()
    for partition, table in tables:
        parts = waiting.setdefault(partition, [])
        parts.append(table)
        if sum(part.num_rows for part in parts) >= COLD_FILE_ROWS:
            yield partition, joined(waiting.pop(partition))
    for partition, parts in waiting.items():
        whole = joined(parts)
        if whole.num_rows:
            yield partition, whole
