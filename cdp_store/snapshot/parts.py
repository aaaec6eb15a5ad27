"""Parts of a snapshot that are copied from one shard's into another's."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cdp_store.ids import PartitionId
from cdp_store.snapshot.manifest import (
    BlockEntry,
    ChunkEntry,
    DocumentEntry,
    Extent,
    Generation,
    Manifest,
    MorselEntry,
    PartitionEntry,
    SummaryEntry,
    files_of,
)

Placed = TypeVar("Placed", BlockEntry, ChunkEntry, DocumentEntry, Extent, Generation, MorselEntry, SummaryEntry)


def only(manifest: Manifest, partition: PartitionId) -> Manifest:
    """The part of a snapshot that is one partition's; the snapshot must hold it."""
    [entry] = [each for each in manifest.partitions if each.partition == partition]
    files = {name: manifest.files[name] for name in sorted(set(files_of(entry)))}
    return msgspec.structs.replace(manifest, partitions=(entry,), files=files)


def renamed(manifest: Manifest, prefix: str) -> Manifest:
    """The same with another prefix for the names of all its files, in the same order."""
    files = {prefix + name: file for name, file in manifest.files.items()}
    entries = tuple(_renamed(entry, prefix) for entry in manifest.partitions)
    return msgspec.structs.replace(manifest, partitions=entries, files=files)


def _renamed(entry: PartitionEntry, prefix: str) -> PartitionEntry:
    def put(each: Placed) -> Placed:
        return msgspec.structs.replace(each, file=prefix + each.file)

    return msgspec.structs.replace(
        entry,
        created=prefix + entry.created if entry.created else "",
        batches=prefix + entry.batches,
        cold=tuple(prefix + name for name in entry.cold),
        identifiers=tuple(map(put, entry.identifiers)),
        ids=tuple(map(put, entry.ids)),
        summaries={number: put(each) for number, each in entry.summaries.items()},
        strings={scope: tuple(map(put, extents)) for scope, extents in entry.strings.items()},
        events={name: tuple(map(put, chunks)) for name, chunks in entry.events.items()},
        changes={name: tuple(map(put, chunks)) for name, chunks in entry.changes.items()},
        documents={name: put(each) for name, each in entry.documents.items()},
        morsels=tuple(
            msgspec.structs.replace(put(each), blocks=tuple(map(put, each.blocks))) for each in entry.morsels
        ),
        identity={table: prefix + name for table, name in entry.identity.items()},
    )
