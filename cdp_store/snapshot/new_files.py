"""Files of a snapshot that is being written, under names that no other file has."""

from __future__ import annotations

import pyarrow as pa

from cdp_store.ids import PartitionId
from cdp_store.outside.checksums import crc32c_of
from cdp_store.snapshot import arrow_tables
from cdp_store.snapshot.manifest import FileEntry
from cdp_store.snapshot.places import SnapshotPlace


class NewFiles:
    """Encodes tables and writes them under new names: those of a snapshot are numbered, here from `first` on."""

    def __init__(self, place: SnapshotPlace, number: int, first: int) -> None:
        self._place, self.number, self.count = place, number, first
        self.entries = dict[str, FileEntry]()

    def add(self, partition: PartitionId, what: str, table: pa.Table) -> str:
        """Writes a table; returns the name of its file."""
        return self.add_unmarked(partition, what, arrow_tables.without_levels(table))

    def add_unmarked(self, partition: PartitionId, what: str, table: pa.Table) -> str:
        """The same for a table that is merged with others: marks of columns without nulls would tell them apart."""
        return self._add(partition, f"{what}-{self.count:05d}.parquet", arrow_tables.to_parquet(table), table.num_rows)

    def add_bytes(self, partition: PartitionId, what: str, content: bytes) -> str:
        """Writes bytes unchanged; returns the name of their file."""
        return self._add(partition, f"{what}-{self.count:05d}.bin", pa.py_buffer(content), 0)

    def _add(self, partition: PartitionId, end: str, data: pa.Buffer, rows: int) -> str:
        name = f"{self.number:08d}-p{partition:04d}-{end}"
        self.count += 1
        self._place.write(name, data)
        self.entries[name] = FileEntry(data.size, crc32c_of(data), rows)
        return name

    def partition_done(self) -> None:
        """Returns the memory of encoded files to the system."""
        pa.default_memory_pool().release_unused()
