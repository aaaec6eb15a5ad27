"""Reading snapshots back: files are checked and turned into the parts of a partition's memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from cdp_store.arrays import U8, U64, AnyArray
from cdp_store.directory.documents import Document
from cdp_store.errors import SnapshotDamaged
from cdp_store.events.chunk import EventChunk
from cdp_store.events.layout import Chunks
from cdp_store.events.retained import Summary
from cdp_store.ids import SequenceNumber
from cdp_store.memory.memory import NO_TIMES, MemoryParts
from cdp_store.memory.view import CHANGE_VALUE
from cdp_store.outside.checksums import crc32c_of
from cdp_store.partition.dedupe import IdGeneration
from cdp_store.profiles.profile_parts import MorselParts
from cdp_store.snapshot import arrow_tables
from cdp_store.snapshot.chunk_tables import FileColumns
from cdp_store.snapshot.manifest import (
    ChunkEntry,
    FileEntry,
    Manifest,
    PartitionEntry,
    SummaryEntry,
    decode_manifest,
    manifest_name,
    number_in,
)
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.profile_tables import read_morsel
from cdp_store.values import Kind


def snapshot_numbers(place: SnapshotPlace) -> list[int]:
    """Numbers of the published snapshots, newest first."""
    return sorted((number for name in place.names() if (number := number_in(name)) is not None), reverse=True)


def read_manifest(place: SnapshotPlace, number: int) -> Manifest:
    """The manifest of a snapshot."""
    name = manifest_name(number)
    manifest = decode_manifest(name, place.read(name).to_pybytes())
    if manifest.number != number:
        raise SnapshotDamaged(name, f"it is marked as snapshot {manifest.number}")
    return manifest


def check_file(place: SnapshotPlace, name: str, entry: FileEntry) -> pa.Buffer:
    """The bytes of a file; SnapshotDamaged unless they match the manifest."""
    data = place.read(name)
    if data.size != entry.bytes:
        raise SnapshotDamaged(name, f"it has {data.size} bytes instead of {entry.bytes}")
    if crc32c_of(data) != entry.crc32c:
        raise SnapshotDamaged(name, "it does not fit its checksum")
    return data


class PartitionReader:
    """One partition of a snapshot."""

    def __init__(self, place: SnapshotPlace, manifest: Manifest, entry: PartitionEntry) -> None:
        self._place, self._manifest, self.entry = place, manifest, entry

    def parts(self) -> MemoryParts:
        """Parts of the partition's memory. Raises SnapshotDamaged; strings and identifiers are read lazily."""
        entry, properties = self.entry, dict(enumerate(self.entry.property_names))
        return MemoryParts(
            sequence=SequenceNumber(entry.sequence),
            received_ms=entry.received_ms,
            event_names=entry.event_names,
            property_names=entry.property_names,
            attribute_names=entry.attribute_names,
            identifiers=self._identifiers(),
            created=arrow_tables.instants_of(self._table(entry.created), "created") if entry.created else NO_TIMES,
            strings=self._strings(),
            events=self._chunks(entry.events, properties),
            changes=self._chunks(entry.changes, {CHANGE_VALUE: "value"}),
            summaries={name: self._summary(each) for name, each in entry.summaries.items()},
            retention_days=entry.retention_days,
            morsels=None if entry.created else self._morsels(),
            latest_changes_ms=entry.latest_changes_ms,
        )

    def _morsels(self) -> Iterator[MorselParts]:
        for morsel in self.entry.morsels:
            yield read_morsel(morsel, self.entry.attribute_names, self._table)

    def ids(self) -> list[IdGeneration]:
        """The message ids."""
        found = list[IdGeneration]()
        for generation in self.entry.ids:
            high, low = arrow_tables.ids_of(self._table(generation.file))
            both: U64 = np.stack([high, low], axis=1)
            found.append(IdGeneration(generation.started_ms, both, generation.of_identifiers))
        return found

    @cached_property
    def batches(self) -> list[tuple[bytes, int]]:
        """(batch id, sequence), the oldest first."""
        table = self._table(self.entry.batches)
        return list(zip(table.column("batch_id").to_pylist(), table.column("sequence").to_pylist(), strict=True))

    @cached_property
    def identity(self) -> dict[str, pa.Table]:
        """Links and transfers of identifiers, by name of the table."""
        return {name: self._table(file) for name, file in self.entry.identity.items()}

    def documents(self) -> dict[str, Document]:
        """The documents kept with the partition, by name."""
        return {
            name: Document(each.version, check_file(self._place, each.file, self._listed(each.file)).to_pybytes())
            for name, each in self.entry.documents.items()
        }

    def _summary(self, entry: SummaryEntry) -> Summary:
        return Summary(entry.cutoff_ms, *arrow_tables.summary_of(self._table(entry.file)))

    def _identifiers(self) -> Iterator[tuple[AnyArray, U8]]:
        for extent in self.entry.identifiers:
            yield arrow_tables.strings_of(self._table(extent.file), "identifier", extent.start, extent.count)

    def _strings(self) -> Iterator[tuple[int, AnyArray, U8]]:
        loaded = dict[str, pa.Table]()
        for scope, extents in self.entry.strings.items():
            for extent in extents:
                if extent.file not in loaded:
                    loaded[extent.file] = self._table(extent.file)
                table, column = loaded[extent.file], "list" if scope & 1 else "text"
                yield scope, *arrow_tables.strings_of(table, column, extent.start, extent.count)

    def _chunks(self, entries: dict[int, tuple[ChunkEntry, ...]], names: dict[int, str]) -> dict[int, Chunks]:
        by_file = dict[str, list[tuple[int, int]]]()
        for name, places in entries.items():
            for at, place in enumerate(places):
                by_file.setdefault(place.file, []).append((name, at))
        found = {name: list[EventChunk | None]([None] * len(places)) for name, places in entries.items()}
        for file, wanted in by_file.items():
            listed = [entries[name][at] for name, at in wanted]
            for (name, at), chunk in zip(wanted, self._chunks_of_file(file, listed, names), strict=True):
                found[name][at] = chunk
        return {name: tuple(chunk for chunk in chunks if chunk is not None) for name, chunks in found.items()}

    def _chunks_of_file(self, file: str, places: list[ChunkEntry], names: dict[int, str]) -> Iterator[EventChunk]:
        keys = sorted({(each.property, Kind(each.kind)) for place in places for each in place.columns})
        return map(FileColumns.read(self._table(file), keys, names).chunk, places)

    def _table(self, file: str) -> pa.Table:
        entry = self._listed(file)
        table = arrow_tables.from_parquet(file, check_file(self._place, file, entry))
        if table.num_rows != entry.rows:
            raise SnapshotDamaged(file, f"it has {table.num_rows} rows instead of {entry.rows}")
        return table

    def _listed(self, file: str) -> FileEntry:
        entry = self._manifest.files.get(file)
        if entry is None:
            raise SnapshotDamaged(manifest_name(self._manifest.number), f"it refers to {file} without listing it")
        return entry
