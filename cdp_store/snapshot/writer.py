"""Writing snapshots: shares what earlier ones hold and writes the rest alongside reads and writes.

Extra memory is one file at a time: at most SNAPSHOT_FILE_CELLS_MAX cells and their encoded form.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec
import numpy as np
import pyarrow as pa

from cdp_store.arrays import I64, U8, AnyArray
from cdp_store.columns.dictionary import scope_key
from cdp_store.directory.documents import Document
from cdp_store.events.chunk import EventChunk
from cdp_store.events.layout import Chunks
from cdp_store.events.retained import Summary
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import (
    SNAPSHOT_SMALL_FILE_ROWS,
    SNAPSHOT_SMALL_FILES_MAX,
)
from cdp_store.log.segment_reader import Positions
from cdp_store.memory.view import CHANGE_VALUE
from cdp_store.outside.checksums import crc32c_of
from cdp_store.partition.dedupe import IdGeneration
from cdp_store.partition.readings import PartitionExport
from cdp_store.snapshot import arrow_tables
from cdp_store.snapshot.chunk_tables import chunk_table, column_entry, file_groups
from cdp_store.snapshot.cold.files import ColdFiles
from cdp_store.snapshot.cold.logged_rows import ColdReader
from cdp_store.snapshot.manifest import (
    ChunkEntry,
    DocumentEntry,
    Extent,
    FileEntry,
    Generation,
    Manifest,
    MorselEntry,
    PartitionEntry,
    SummaryEntry,
    files_of,
)
from cdp_store.snapshot.new_files import NewFiles
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.profile_tables import KnownMorsel, morsels_of, write_morsel

_CHANGE_NAMES = {CHANGE_VALUE: "value"}
ReadDocuments = Callable[[PartitionId], Mapping[str, Document]]
_Placed = tuple["weakref.ReferenceType[EventChunk]", ChunkEntry]


@dataclass(slots=True)
class _Known:
    """Content of a partition that is in files already, valid for one lineage of it."""

    lineage: int = -1
    chunks: dict[int, _Placed] = field(default_factory=dict)  # by id of the chunk, which may have been reused
    morsels: list[KnownMorsel] = field(default_factory=list)
    entry: PartitionEntry | None = None

    def place_of(self, chunk: EventChunk) -> ChunkEntry | None:
        """Place of a chunk that was written already."""
        placed = self.chunks.get(id(chunk))
        return placed[1] if placed is not None and placed[0]() is chunk else None


@dataclass(frozen=True, slots=True)
class _Cold:
    """Cold files of a partition, and the log position that they reach."""

    files: tuple[str, ...]
    upto: SequenceNumber


_NO_COLD = _Cold((), SequenceNumber(0))


def _cold_of(entry: PartitionEntry) -> _Cold:
    return _Cold(entry.cold, SequenceNumber(entry.cold_sequence))


def _with_cold(entry: PartitionEntry, cold: _Cold) -> PartitionEntry:
    return msgspec.structs.replace(entry, cold=cold.files, cold_sequence=cold.upto)


@dataclass(frozen=True, slots=True)
class Written:
    """A snapshot that is not published yet."""

    manifest: Manifest
    files_written: int
    bytes_written: int
    problems: tuple[str, ...]


class SnapshotWriter:
    """Writes the files of one shard's snapshots and remembers what they hold."""

    def __init__(self, place: SnapshotPlace, cluster: str) -> None:
        self._place, self._cluster = place, cluster
        self._known = dict[PartitionId, _Known]()
        self._files = dict[str, FileEntry]()
        self._cold = dict[PartitionId, _Cold]()
        self._ahead = (0, 0)  # number of the next snapshot, and of files that were written ahead of it

    def adopt(self, manifest: Manifest, loaded: Mapping[PartitionId, PartitionExport]) -> None:
        """Shares the files of a snapshot that these partitions were just loaded from."""
        self._files = {**self._files, **manifest.files}
        for entry in manifest.partitions:
            export = loaded.get(PartitionId(entry.partition))
            if export is None:
                continue  # it moved to another shard since
            known = _Known(export.lineage, entry=entry)
            self._cold[PartitionId(entry.partition)] = _cold_of(entry)
            for name, places in entry.events.items():
                _remember(known, zip(export.view.events.chunks(name), places, strict=True))
            if not entry.created:
                for name, places in entry.changes.items():
                    _remember(known, zip(export.view.changes.chunks(name), places, strict=True))
                known.morsels = list(map(KnownMorsel.of, morsels_of(export.view), entry.morsels))
            self._known[PartitionId(entry.partition)] = known

    def write(
        self,
        number: int,
        taken_ms: int,
        partitions: Iterable[tuple[PartitionId, Callable[[], PartitionExport]]],
        read_cold: ColdReader,
        documents: ReadDocuments,
    ) -> Written:
        """Writes all files of snapshot `number`, durably; `finish` makes later snapshots share them.

        Each partition is captured when its turn comes.
        """
        files = self._new_files(number)
        entries, known = list[PartitionEntry](), dict[PartitionId, _Known]()
        for partition, capture in partitions:
            export = capture()
            before = self._known.get(partition, _Known())
            usable = before if before.lineage == export.lineage >= 0 else _Known()
            pending = _PartitionWriter(files, partition, export, usable, self._files, documents(partition))
            known[partition] = pending.write()
            entries.append(pending.entry())
            files.partition_done()
        end = {PartitionId(entry.partition): SequenceNumber(entry.sequence) for entry in entries}
        cold, problems = self._advanced(files, end, read_cold)
        entries = [_with_cold(entry, cold[PartitionId(entry.partition)]) for entry in entries]
        for entry in entries:
            known[PartitionId(entry.partition)].entry = entry
        self._place.settle()
        used = {name for entry in entries for name in files_of(entry)}
        kept = {name: entry for name, entry in {**self._files, **files.entries}.items() if name in used}
        manifest = Manifest(number, self._cluster, taken_ms, tuple(entries), kept)
        self._pending = (known, kept)
        size = sum(entry.bytes for entry in files.entries.values())
        return Written(manifest, len(files.entries), size, problems)

    def write_cold(self, number: int, end: Positions, read_cold: ColdReader) -> tuple[str, ...]:
        """Writes the cold columns of log records up to `end` ahead of snapshot `number`, which will name the files.

        If anything could not be read, nothing is kept: the snapshot will report it.
        """
        files = self._new_files(number)
        cold, problems = self._advanced(files, end, read_cold)
        files.partition_done()
        if not problems:
            self._cold = cold
            self._files = {**self._files, **files.entries}
            self._ahead = (number, files.count)
        return problems

    def finish(self) -> None:
        """Shares the files of the last written snapshot from now on; it was published."""
        self._known, self._files = self._pending
        entries = (known.entry for known in self._known.values())
        self._cold = {PartitionId(entry.partition): _cold_of(entry) for entry in entries if entry is not None}

    def _new_files(self, number: int) -> NewFiles:
        """New files of a snapshot, numbered after those written ahead of it; replaces files of failed attempts."""
        return NewFiles(self._place, number, self._ahead[1] if self._ahead[0] == number else 0)

    def _advanced(
        self, files: NewFiles, end: Positions, read: ColdReader
    ) -> tuple[dict[PartitionId, _Cold], tuple[str, ...]]:
        """The cold files for log records up to `end`, after writing missing ones; and problems."""
        held = {number: self._cold.get(number, _NO_COLD) for number in end}
        cold = ColdFiles(files.add_unmarked, self._place, {**self._files, **files.entries})
        with read({number: each.upto for number, each in held.items()}, end) as source:
            written = cold.write(source, {number: each.files for number, each in held.items()})
            problems = (*source.problems, *cold.problems)
        return {number: _Cold(written[number], end[number]) for number in end}, problems


class _PartitionWriter:
    """One partition of one snapshot."""

    def __init__(
        self,
        files: NewFiles,
        partition: PartitionId,
        export: PartitionExport,
        known: _Known,
        old_files: Mapping[str, FileEntry],
        documents: Mapping[str, Document],
    ) -> None:
        self._files, self._partition, self._export = files, partition, export
        self._known, self._old_files, self._documents = known, old_files, documents
        self._entry: PartitionEntry | None = None

    def write(self) -> _Known:
        """Writes what no file holds yet."""
        view, schema = self._export.view, self._export.view.schema
        now = _Known(self._export.lineage)
        property_names = {number: name for name, number in schema.properties.items()}
        chunks = {number: view.events.chunks(number) for number in range(len(schema.events))}
        events = self._write_chunks("events", chunks, property_names, now)
        history = {number: view.changes.chunks(number) for number in sorted(view.attributes)}
        changes = self._write_chunks("changes", history, _CHANGE_NAMES, now)
        self._entry = now.entry = PartitionEntry(
            partition=self._partition,
            sequence=view.sequence,
            received_ms=self._export.received_ms,
            rows=view.row_count,
            event_names=tuple(schema.events),
            property_names=tuple(schema.properties),
            attribute_names=tuple(schema.attributes),
            identifiers=self._write_identifiers(),
            created="",
            strings=self._write_strings(),
            events=events,
            changes=changes,
            ids=tuple(map(self._write_ids, self._export.ids)),
            batches=self._write_batches(),
            retention_days=dict(self._export.retention_days),
            summaries={name: self._write_summary(name, each) for name, each in view.summaries.items()},
            identity=self._write_identity(),
            morsels=self._write_morsels(now),
            latest_changes_ms={number: reading.latest_ms for number, reading in view.attributes.items()},
            documents={name: self._write_document(name, each) for name, each in self._documents.items()},
        )
        return now

    def entry(self) -> PartitionEntry:
        """Entry of the partition in the manifest."""
        assert self._entry is not None, "write comes first"
        return self._entry

    def _write_chunks(
        self, what: str, by_name: Mapping[int, Chunks], columns: Mapping[int, str], now: _Known
    ) -> dict[int, tuple[ChunkEntry, ...]]:
        listed = {name: chunks for name, chunks in by_name.items() if chunks}
        places = self._shared_places(listed)
        fresh = [chunk for chunks in listed.values() for chunk in chunks if id(chunk) not in places]
        for group in file_groups(fresh):
            keys = arrow_tables.union_of_keys(group)
            file = self._files.add(self._partition, what, chunk_table(group, keys, columns))
            start = 0
            for chunk in group:
                own = tuple(column_entry(key, chunk.columns[key]) for key in sorted(chunk.columns))
                places[id(chunk)] = ChunkEntry(file, start, len(chunk), own)
                start += len(chunk)
        entries = {name: tuple(places[id(chunk)] for chunk in chunks) for name, chunks in listed.items()}
        for name, chunks in listed.items():
            _remember(now, zip(chunks, entries[name], strict=True))
        return entries

    def _shared_places(self, listed: Mapping[int, Chunks]) -> dict[int, ChunkEntry]:
        """Places of chunks that are written already, except in files that are too little used."""
        places = dict[int, ChunkEntry]()
        for chunk in (chunk for chunks in listed.values() for chunk in chunks):
            place = self._known.place_of(chunk)
            if place is not None:
                places[id(chunk)] = place
        live = Counter[str]()
        for place in places.values():
            live[place.file] += place.rows
        given_up = {file for file, rows in live.items() if 2 * rows < self._old_files[file].rows}
        small = [file for file in live if self._old_files[file].rows < SNAPSHOT_SMALL_FILE_ROWS]
        if len(small) > SNAPSHOT_SMALL_FILES_MAX:
            given_up.update(small)
        return {chunk: place for chunk, place in places.items() if place.file not in given_up}

    def _unchanged(self) -> PartitionEntry | None:
        """Entry written before, if nothing was logged since."""
        entry = self._known.entry
        return entry if entry is not None and entry.sequence == self._export.view.sequence else None

    def _write_morsels(self, now: _Known) -> tuple[MorselEntry, ...]:
        names = {number: name for name, number in self._export.view.schema.attributes.items()}
        write = partial(self._files.add, self._partition, "profiles")
        before = self._known.morsels
        for number, morsel in enumerate(morsels_of(self._export.view)):
            same = number < len(before) and before[number].is_still(morsel)
            known = before[number] if same else KnownMorsel.of(morsel, write_morsel(morsel, names, write))
            now.morsels.append(known)
        return tuple(each.entry for each in now.morsels)

    def _write_batches(self) -> str:
        same = self._unchanged()
        return (
            same.batches
            if same is not None
            else self._files.add(self._partition, "batches", _batch_table(self._export))
        )

    def _write_identifiers(self) -> tuple[Extent, ...]:
        offsets, data = self._export.view.identifiers
        held = self._known.entry.identifiers if self._known.entry is not None else ()
        if len(held) >= SNAPSHOT_SMALL_FILES_MAX:
            held = ()
        first = held[-1].first + held[-1].count if held else 0
        count = offsets.shape[0] - 1 - first
        if count <= 0:
            return held
        table = arrow_tables.identifier_table(first, offsets[first:], data)
        return (*held, Extent(self._files.add(self._partition, "identifiers", table), 0, first, count))

    def _write_strings(self) -> dict[int, tuple[Extent, ...]]:
        held = dict(self._known.entry.strings) if self._known.entry is not None else {}
        if len({extent.file for extents in held.values() for extent in extents}) >= SNAPSHOT_SMALL_FILES_MAX:
            held = {}
        fresh = list[tuple[int, int, AnyArray, U8]]()
        for scope in sorted(self._export.view.dictionary.sizes()):
            key, is_attribute, is_list = scope_key(scope)
            offsets, data = self._export.view.string_arena(key, attribute=is_attribute, is_list=is_list)
            first = sum(extent.count for extent in held.get(scope, ()))
            if offsets.shape[0] - 1 > first:
                fresh.append((scope, first, offsets[first:], data))
        if not fresh:
            return held
        file = self._files.add(self._partition, "strings", arrow_tables.string_table(fresh))
        start = 0
        for scope, first, offsets, _ in fresh:
            count = offsets.shape[0] - 1
            held[scope] = (*held.get(scope, ()), Extent(file, start, first, count))
            start += count
        return held

    def _write_summary(self, name: int, summary: Summary) -> SummaryEntry:
        same = self._unchanged()
        if same is not None:
            return same.summaries[name]
        table = arrow_tables.summary_table(summary.rows, summary.counts, summary.first_ms, summary.last_ms)
        return SummaryEntry(self._files.add(self._partition, "retained", table), summary.cutoff_ms)

    def _write_identity(self) -> dict[str, str]:
        same = self._unchanged()
        if same is not None:
            return same.identity
        tables_ = self._export.identity.items()
        return {name: self._files.add(self._partition, f"identity-{name}", table) for name, table in tables_}

    def _write_document(self, name: str, document: Document) -> DocumentEntry:
        known = self._known.entry.documents.get(name) if self._known.entry is not None else None
        if known is not None:
            held, size = self._old_files[known.file], len(document.content)
            if (held.bytes, held.crc32c) == (size, crc32c_of(document.content)):
                return DocumentEntry(known.file, document.version)
        return DocumentEntry(self._files.add_bytes(self._partition, "document", document.content), document.version)

    def _write_ids(self, generation: IdGeneration) -> Generation:
        high, low = generation.ids()
        what = generation.started_ms, high.shape[0], generation.of_identifiers
        for known in self._known.entry.ids if self._known.entry is not None else ():
            # A generation that no longer grows keeps its start and its number of ids.
            if (known.started_ms, known.count, known.of_identifiers) == what:
                return known
        return Generation(self._files.add(self._partition, "ids", arrow_tables.id_table(high, low)), *what)


def _remember(known: _Known, placed: Iterable[tuple[EventChunk, ChunkEntry]]) -> None:
    for chunk, place in placed:
        known.chunks[id(chunk)] = (weakref.ref(chunk), place)


def _batch_table(export: PartitionExport) -> pa.Table:
    ids = pa.array([batch_id for batch_id, _ in export.batches], pa.large_binary())
    sequences: I64 = np.array([sequence for _, sequence in export.batches], np.int64)
    return pa.table({"batch_id": ids, "sequence": pa.array(sequences)})
