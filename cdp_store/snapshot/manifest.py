"""The manifest of a snapshot: its files and their content. FORMAT.md is the description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import google_crc32c
import msgspec

from cdp_store.errors import SnapshotDamaged, SnapshotUnsupported

VERSION: Final = 4
SUFFIX: Final = ".json"
_PREFIX: Final = "snapshot-"


class FileEntry(msgspec.Struct, frozen=True):
    """One immutable file."""

    bytes: int
    crc32c: int
    rows: int


class ColumnEntry(msgspec.Struct, frozen=True, array_like=True):
    """A column of a chunk and how memory holds it: values of `width` bytes over a base, with bounds (EventColumn).

    Width 0: the form is computed from the values, for floats that are no decimals and in manifests before version 3.
    """

    property: int
    kind: int
    width: int = 0
    base: int = 0
    scale: int = 0
    low: int = 0
    high: int = 0


class ChunkEntry(msgspec.Struct, frozen=True, array_like=True):
    """A chunk: rows [start, start + rows) of a file, with these of its columns."""

    file: str
    start: int
    rows: int
    columns: tuple[ColumnEntry, ...]


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive entries of an append-only list, from number `first` on: rows [start, start + count) of a file."""

    file: str
    start: int
    first: int
    count: int


class Generation(msgspec.Struct, frozen=True, array_like=True):
    """Message ids of one generation, a whole file; hashed with the identifiers they count for, or, before version 4,
    alone."""

    file: str
    started_ms: int
    count: int
    of_identifiers: bool = False


class SummaryEntry(msgspec.Struct, frozen=True, array_like=True):
    """Summary of the dropped events of one name, a whole file."""

    file: str
    cutoff_ms: int


class BlockEntry(msgspec.Struct, frozen=True, array_like=True):
    """The current values of an attribute in a morsel: columns of a file, and whether there are times of changes."""

    file: str
    attribute: int
    columns: tuple[ColumnEntry, ...]
    changed: bool


class MorselEntry(msgspec.Struct, frozen=True, array_like=True):
    """Profiles of a morsel: whole files, the first of them with `created` and `first_set`."""

    file: str
    rows: int
    first_set: ColumnEntry | None
    latest_created_ms: int
    blocks: tuple[BlockEntry, ...]


class DocumentEntry(msgspec.Struct, frozen=True, array_like=True):
    """A document at a version; its content is a whole file, unchanged."""

    file: str
    version: int


class PartitionEntry(msgspec.Struct, frozen=True):
    """Entry of one partition in a snapshot, at position `sequence` of its log."""

    partition: int
    sequence: int
    received_ms: int
    rows: int
    event_names: tuple[str, ...]
    property_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    identifiers: tuple[Extent, ...]
    created: str  # empty since version 3: `morsels` hold the times
    strings: dict[int, tuple[Extent, ...]]
    events: dict[int, tuple[ChunkEntry, ...]]
    changes: dict[int, tuple[ChunkEntry, ...]]
    ids: tuple[Generation, ...]
    batches: str
    retention_days: dict[str, int]
    summaries: dict[int, SummaryEntry]
    cold: tuple[str, ...] = ()  # whole files, in order of arrival
    cold_sequence: int = 0  # they hold the log's records up to here
    identity: dict[str, str] = {}  # files by table: links and transfers of identifiers, if there are any
    morsels: tuple[MorselEntry, ...] = ()
    latest_changes_ms: dict[int, int] = {}  # by attribute, in history or morsels; all attributes with any value
    documents: dict[str, DocumentEntry] = {}  # those kept with the partition, by name


class Manifest(msgspec.Struct, frozen=True):
    """A snapshot of one shard."""

    number: int
    cluster: str
    taken_ms: int
    partitions: tuple[PartitionEntry, ...]
    files: dict[str, FileEntry]


class _Envelope(msgspec.Struct, frozen=True):
    version: int
    crc32c: int
    snapshot: msgspec.Raw


def files_of(entry: PartitionEntry) -> Iterator[str]:
    """Names of all files a partition's entry refers to, some more than once."""
    if entry.created:
        yield entry.created
    yield from (each.file for each in entry.morsels)
    yield from (block.file for each in entry.morsels for block in each.blocks)
    yield entry.batches
    yield from entry.cold
    yield from (each.file for each in entry.identifiers)
    yield from (each.file for each in entry.ids)
    yield from (each.file for each in entry.summaries.values())
    yield from entry.identity.values()
    yield from (each.file for each in entry.documents.values())
    yield from (each.file for extents in entry.strings.values() for each in extents)
    for group in (entry.events, entry.changes):
        yield from (each.file for chunks in group.values() for each in chunks)


def manifest_name(number: int) -> str:
    """File name of a snapshot's manifest."""
    return f"{_PREFIX}{number:08d}{SUFFIX}"


def number_in(name: str) -> int | None:
    """The snapshot whose manifest has this file name, or None for any other name."""
    middle = name.removeprefix(_PREFIX).removesuffix(SUFFIX)
    return int(middle) if name == f"{_PREFIX}{middle}{SUFFIX}" and middle.isdigit() else None


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON with its own checksum."""
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode(_Envelope(VERSION, google_crc32c.value(body), msgspec.Raw(body)))


def decode_manifest(name: str, data: bytes) -> Manifest:
    """The manifest in these bytes; SnapshotDamaged or SnapshotUnsupported if it cannot be used."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.version > VERSION:
            raise SnapshotUnsupported(name, envelope.version, VERSION)
        body = bytes(envelope.snapshot)
        if google_crc32c.value(body) != envelope.crc32c:
            raise SnapshotDamaged(name, "it does not fit its checksum")
        return msgspec.json.decode(body, type=Manifest)
    except msgspec.DecodeError as error:
        raise SnapshotDamaged(name, str(error)) from error
