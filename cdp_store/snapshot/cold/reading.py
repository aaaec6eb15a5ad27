"""Reading the cold columns of people back, from files and from the log after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import I64, Bools
from cdp_store.errors import SnapshotDamaged, SnapshotFailed
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import TIME_MIN_MS
from cdp_store.partition.partition import Partition
from cdp_store.snapshot.arrow_tables import from_parquet
from cdp_store.snapshot.cold.cold_tables import SCHEMA, chosen, completed, encoded_text, joined
from cdp_store.snapshot.cold.logged_rows import logged_rows
from cdp_store.snapshot.cold.removals import Removals
from cdp_store.snapshot.manifest import FileEntry, Manifest, PartitionEntry
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.reader import check_file


class NewestSnapshot(Protocol):
    """Holder of the newest snapshot."""

    newest: Manifest | None


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts of some records, in order of arrival, by cold_tables.SCHEMA: all requested ones before `until_ms`, or
    all (None)."""

    rows: pa.Table
    until_ms: int | None


def read_receipts(
    snapshots: NewestSnapshot,
    place: SnapshotPlace,
    log: Path,
    partition: Partition,
    identifiers: Sequence[bytes],
    from_ms: int = TIME_MIN_MS,
    rows_max: int | None = None,
) -> Receipts:
    """Receipts of records under encoded identifiers for times from an instant on: the earliest `rows_max`, or all of
    one instant. Snapshots may be written and removed meanwhile."""
    while True:
        manifest, earliest = snapshots.newest, _Earliest(identifiers, from_ms, rows_max)
        try:
            for table in _tables(manifest, place, log, partition, identifiers):
                earliest.add(table)
        except (SnapshotDamaged, SnapshotFailed, FileNotFoundError):
            # Two snapshots written meanwhile remove files that an older one named, and the log after it.
            if snapshots.newest is manifest:
                raise
            continue
        return earliest.finish()


class _Earliest:
    """Keeps the rows of some people with the earliest times, never more than twice as many as are wanted, apart from
    those of one instant."""

    def __init__(self, identifiers: Sequence[bytes], from_ms: int, rows_max: int | None) -> None:
        self._identifiers = pa.array([each.decode() for each in identifiers], pa.string())
        self._from_ms, self._rows_max = from_ms, rows_max
        self._until_ms: int | None = None
        self._kept, self._count = [SCHEMA.empty_table()], 0

    def add(self, table: pa.Table) -> None:
        """Adds rows that arrived after all rows added before."""
        texts, codes = encoded_text(table, "identifier")
        wanted = np.append(pc.is_in(texts, value_set=self._identifiers).to_numpy(zero_copy_only=False), False)
        keep: Bools = wanted.astype(np.bool_)[codes] & self._in_time(table)
        if keep.any():
            self._kept.append(chosen(table, keep))
            self._count += int(keep.sum())
        if self._rows_max is not None and self._count > 2 * self._rows_max:
            self._cut(self._rows_max)

    def finish(self) -> Receipts:
        """Receipts that were kept."""
        if self._rows_max is not None and self._count > self._rows_max:
            self._cut(self._rows_max)
        return Receipts(joined(self._kept), self._until_ms)

    def _cut(self, rows_max: int) -> None:
        whole = joined(self._kept)
        ordered = np.sort(_times(whole))
        self._until_ms = max(int(ordered[rows_max]), int(ordered[0]) + 1)
        kept = chosen(whole, self._in_time(whole))
        self._kept, self._count = [kept], kept.num_rows

    def _in_time(self, table: pa.Table) -> Bools:
        times = _times(table)
        inside: Bools = times >= self._from_ms
        return inside if self._until_ms is None else inside & (times < self._until_ms)


def _times(table: pa.Table) -> I64:
    times: I64 = table.column("time").cast(pa.int64()).to_numpy()
    return times


def _tables(
    manifest: Manifest | None, place: SnapshotPlace, log: Path, partition: Partition, identifiers: Sequence[bytes]
) -> Iterator[pa.Table]:
    entry, files = _entry(manifest, partition.partition)
    start = {partition.partition: SequenceNumber(entry.cold_sequence if entry is not None else 0)}
    with logged_rows(log, start, {partition.partition: partition.sequence}, identifiers) as tail:
        removals = tail.removals.get(partition.partition, Removals())
        for name in entry.cold if entry is not None else ():
            yield removals.staying(_file(place, name, files[name]), is_older=True)
        for _, table in tail.tables():
            yield table
        if tail.problems:
            raise SnapshotFailed(str(log), "; ".join(tail.problems))


def _entry(manifest: Manifest | None, number: PartitionId) -> tuple[PartitionEntry | None, Mapping[str, FileEntry]]:
    if manifest is None:
        return None, {}
    return next((each for each in manifest.partitions if each.partition == number), None), manifest.files


def _file(place: SnapshotPlace, name: str, entry: FileEntry) -> pa.Table:
    return completed(from_parquet(name, check_file(place, name, entry)))
