"""Reading the cold columns of one person back, from files and from the log behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.errors import SnapshotDamaged, SnapshotFailed
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.partition import Partition
from cdp_store.snapshot.cold.logged import logged_rows
from cdp_store.snapshot.cold.removals import Removals
from cdp_store.snapshot.cold.tables import SCHEMA, chosen, encoded_text
from cdp_store.snapshot.manifest import FileEntry, Manifest, PartitionEntry
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.reader import check_file
from cdp_store.snapshot.tables import from_parquet


class NewestSnapshot(Protocol):
    """Whoever knows the newest snapshot."""

    newest: Manifest | None


def cold_rows(
    snapshots: NewestSnapshot, place: SnapshotPlace, log: Path, partition: Partition, identifier: bytes
) -> pa.Table:
    """All that came in under an encoded identifier, in order of arrival, while snapshots are taken and removed."""
    while True:
        manifest = snapshots.newest
        try:
            return _read(manifest, place, log, partition, identifier)
        except (SnapshotDamaged, SnapshotFailed, FileNotFoundError):
            # Two snapshots taken meanwhile remove files that an older one named, and the log behind it.
            if snapshots.newest is manifest:
                raise


def _read(
    manifest: Manifest | None, place: SnapshotPlace, log: Path, partition: Partition, identifier: bytes
) -> pa.Table:
    entry, files = _entry(manifest, partition.partition)
    start = {partition.partition: SequenceNumber(entry.cold_sequence if entry is not None else 0)}
    with logged_rows(log, start, {partition.partition: partition.sequence}, identifier) as tail:
        removals = tail.removals.get(partition.partition, Removals())
        held = entry.cold if entry is not None else ()
        older = [rows_of(_file(place, name, files[name]), identifier) for name in held]
        newer = [rows_of(table, identifier) for _, table in tail.tables()]
        if tail.problems:
            raise SnapshotFailed(str(log), "; ".join(tail.problems))
    parts = [removals.staying(table, is_older=True) for table in older] + newer
    return pa.concat_tables([SCHEMA.empty_table(), *parts]).unify_dictionaries().combine_chunks()


def rows_of(table: pa.Table, identifier: bytes) -> pa.Table:
    """The rows that came in under an encoded identifier."""
    texts, codes = encoded_text(table, "identifier")
    code = pc.index(texts, pa.scalar(identifier.decode(), texts.type)).as_py()
    return chosen(table, codes == code) if code >= 0 else table.slice(0, 0)


def _entry(manifest: Manifest | None, number: PartitionId) -> tuple[PartitionEntry | None, Mapping[str, FileEntry]]:
    if manifest is None:
        return None, {}
    return next((each for each in manifest.partitions if each.partition == number), None), manifest.files


def _file(place: SnapshotPlace, name: str, entry: FileEntry) -> pa.Table:
    return from_parquet(name, check_file(place, name, entry))
