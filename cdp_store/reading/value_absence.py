"""Searches for the texts of a forgotten person in every place that can hold texts, by their keyed hashes.

A text that others use too is theirs and stays. A text in a dictionary that no record uses, or in a file and in no
record in memory, was left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cdp_store.arrays import I64, U8, U64, AnyArray
from cdp_store.columns.arena import HashKey, hash_strings
from cdp_store.columns.dictionary import scope_key
from cdp_store.events.chunk import EventChunk
from cdp_store.events.layout import LAYOUT
from cdp_store.identity.identity_changes import Arrival
from cdp_store.identity.state import IdentityState
from cdp_store.log.format import SEGMENT_SUFFIX
from cdp_store.memory.view import CHANGE_VALUE, PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import Quarantine, Quarantined, decode_quarantine_change
from cdp_store.reading.absence import log_records
from cdp_store.records.records import RecordBatch, Strings, decode_batch
from cdp_store.shard.logged import Logged
from cdp_store.values import Kind, unpack

_STRINGS_AT_ONCE: Final = 1 << 18  # of one structure, hashed at a time
_VALUE_COLUMNS: Final = ("text", "list")  # of the files of strings in snapshots
_PACKED_COLUMNS: Final = ("entry", "parcel")  # of records in quarantine, or under way, in snapshots


@dataclass(slots=True)
class ValueScan:
    """Places that still hold a text, and the hashes of texts that others use: u64[n]."""

    found: list[str] = field(default_factory=list)
    shared: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))


def scan_values(partitions: Iterable[Partition], directory: Path | None, hashes: U64) -> ValueScan:
    """Searches memory and, if given, a shard's directory for texts hashed under the key of the partitions.

    Partitions must have been purged. Files come first, to tell later arrivals from leftovers.
    """
    held, scan = tuple(partitions), ValueScan()
    if not hashes.shape[0] or not held:
        return scan
    in_files = {} if directory is None else dict(_in_files(directory, hashes, held[0].key))
    for partition in held:
        _scan_memory(partition, hashes, scan)
    scan.found += [path for path, here in in_files.items() if not np.isin(here, scan.shared).all()]
    return scan


def _scan_memory(partition: Partition, hashes: U64, scan: ValueScan) -> None:
    view, key = partition.capture(), partition.key
    for scope in view.dictionary.sizes():
        owner, is_attribute, is_list = scope_key(scope)
        codes, theirs = _among(*view.dictionary.filled(scope), hashes, key)
        if not codes.shape[0]:
            continue
        used = _used_codes(view, owner, codes, is_attribute=is_attribute, kind=Kind.LIST if is_list else Kind.STRING)
        scan.shared = np.union1d(scan.shared, theirs[used])
        if not used.all():
            names = view.schema.attributes if is_attribute else view.schema.properties
            what = f"{'attribute' if is_attribute else 'property'} {tuple(names)[owner]}"
            scan.found.append(f"partition {partition.partition}: values of {what}")
    for batch in partition.with_identity(_apart):
        here = hash_strings(key, batch.strings)
        scan.shared = np.union1d(scan.shared, here[np.isin(here, hashes)])


def _apart(identity: IdentityState, quarantine: Quarantine) -> list[RecordBatch]:
    """Records that are in no view: in quarantine, and between two partitions."""
    return [*(each.batch for each in quarantine.entries.values()), *identity.transfers.records()]


def _used_codes(view: PartitionView, owner: int, codes: I64, *, is_attribute: bool, kind: Kind) -> Any:
    """Mask of the codes that a record of an existing profile uses: bool[n]."""
    used, gone = np.zeros(codes.shape[0], np.bool_), view.erased()
    for chunk in _chunks(view, owner, is_attribute=is_attribute):
        column = chunk.columns.get((CHANGE_VALUE if is_attribute else owner, kind))
        if column is not None:
            present, stays = column.presence(), ~gone[chunk.full_rows()]
            theirs = column.integers()[stays if present is None else stays & present]
            used |= np.isin(codes, theirs)
    return used


def _chunks(view: PartitionView, owner: int, *, is_attribute: bool) -> Iterator[EventChunk]:
    if is_attribute:
        yield from view.attribute_chunks(owner, LAYOUT) if owner in view.attributes else ()
        return
    for name in range(len(view.schema.events)):
        yield from view.event_chunks(name)


def _in_files(directory: Path, hashes: U64, key: HashKey) -> Iterator[tuple[str, U64]]:
    """Hashes of the texts in each file that has any."""
    for path in sorted(each for each in directory.rglob("*") if each.suffix in (".parquet", SEGMENT_SUFFIX)):
        here: U64 = np.zeros(0, np.uint64)
        try:
            for texts in _texts_of_table(path) if path.suffix == ".parquet" else _texts_of_log(path):
                theirs = hash_strings(key, texts)
                here = np.union1d(here, theirs[np.isin(theirs, hashes)])
        except FileNotFoundError:
            continue  # removed meanwhile by a snapshot, which holds no more than the files still here
        if here.shape[0]:
            yield path.name, here


def _texts_of_log(path: Path) -> Iterator[Strings]:
    for record in log_records(path):
        match Logged.decode(record).meaning:
            case RecordBatch(strings=strings):
                yield strings
            case Arrival(parcel=parcel):
                yield parcel.records.strings
            case Quarantined(batch=batch):
                yield batch.strings


def _texts_of_table(path: Path) -> Iterator[Strings]:
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name in (*_VALUE_COLUMNS, *_PACKED_COLUMNS)]
        for batch in file.iter_batches(columns=names) if names else ():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if name in _PACKED_COLUMNS:
                    for packed in column.drop_null().to_pylist():
                        yield from _texts_packed(packed)
                elif pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type):
                    yield _strings(column.drop_null())


def _texts_packed(packed: bytes) -> Iterator[Strings]:
    """Texts of an entry of the quarantine, or of a transfer."""
    fields: dict[str, Any] = unpack(packed) if packed else {}
    if "numbers" in fields:
        change = decode_quarantine_change(packed)
        assert isinstance(change, Quarantined), "only those are kept"
        yield change.batch.strings
    for batch in (*fields.get("pieces", ()), *filter(None, [fields.get("records")])):
        yield decode_batch(batch).strings


def _strings(column: Any) -> Strings:
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[column.offset : column.offset + len(column) + 1]
    data: U8 = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return Strings((offsets - offsets[0]).astype(np.uint32), data[offsets[0] : offsets[-1]].copy())


def _among(offsets: AnyArray, data: U8, hashes: U64, key: HashKey) -> tuple[I64, U64]:
    """Numbers of the strings with one of the hashes, and their hashes."""
    codes, found = list[I64](), list[U64]()
    for start in range(0, offsets.shape[0] - 1, _STRINGS_AT_ONCE):
        own = offsets[start : start + _STRINGS_AT_ONCE + 1].astype(np.int64)
        theirs = hash_strings(key, Strings((own - own[0]).astype(np.uint32), data[own[0] : own[-1]].copy()))
        at = np.flatnonzero(np.isin(theirs, hashes))
        codes.append(at + start)
        found.append(theirs[at])
    nothing: I64 = np.zeros(0, np.int64)
    return np.concatenate([nothing, *codes]), np.concatenate([nothing.astype(np.uint64), *found])
