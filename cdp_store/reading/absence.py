"""Searches for identifiers in every place that could hold them: the proof of an erasure."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cdp_store.arrays import U8, AnyArray
from cdp_store.identity.identity_changes import Arrival, Departure, Links, Recall
from cdp_store.ids import LOWER_CASE, decode_identifier
from cdp_store.log.controls import Erasure
from cdp_store.log.format import FILE_HEADER_BYTES, SEGMENT_SUFFIX, LogRecord, decode_file_header, decode_record
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import Quarantined
from cdp_store.records.records import RecordBatch, Strings
from cdp_store.shard.logged import Logged

_PARQUET: Final = ".parquet"
_IDENTIFIERS: Final = ("identifier", "source")  # columns of snapshots whose texts are encoded identifiers


@dataclass(slots=True)
class Scan:
    """Result of a search: amount searched, places of an identifier, and number of other texts that equal its value."""

    structures: int = 0
    files: int = 0
    bytes: int = 0
    found: list[str] = field(default_factory=list)
    equal_texts: int = 0


def scan_memory(partitions: Iterable[Partition], identifiers: Sequence[bytes]) -> Scan:
    """Searches all texts in memory."""
    scan, values = Scan(), [decode_identifier(each)[1].encode() for each in identifiers]
    in_transit = [bytes([each[0] & (0xFF ^ LOWER_CASE)]) + each[1:] for each in identifiers]
    for partition in partitions:
        held = partition.texts()
        for name, (offsets, data) in held.identifiers.items():
            scan.structures += 1
            scan.bytes += data.shape[0]
            if any(_count(offsets, data, each) for each in (*identifiers, *in_transit)):
                scan.found.append(f"partition {partition.partition}: {name}")
        for offsets, data in held.values:
            scan.structures += 1
            scan.bytes += data.shape[0]
            scan.equal_texts += sum(_count(offsets, data, value) for value in values)
    return scan


def scan_files(directory: Path, identifiers: Sequence[bytes]) -> Scan:
    """Searches all files below a shard's directory."""
    scan = Scan()
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        try:
            scan.bytes += path.stat().st_size
            _scan_file(path, identifiers, scan)
        except FileNotFoundError:
            continue  # removed meanwhile by a snapshot, which holds no more than the files still here
        scan.files += 1
    return scan


def _scan_file(path: Path, identifiers: Sequence[bytes], scan: Scan) -> None:
    if path.suffix == _PARQUET:
        _scan_table(path, identifiers, scan)
    elif path.suffix == SEGMENT_SUFFIX:
        if any(each in named for each in identifiers for named in _named_in_log(path, identifiers)):
            scan.found.append(path.name)
    elif any(each in path.read_bytes() for each in identifiers):
        scan.found.append(path.name)


def _scan_table(path: Path, identifiers: Sequence[bytes], scan: Scan) -> None:
    """Searches the rows of a table; its texts are compressed, so its bytes do not show them."""
    encoded = pa.array(identifiers, pa.large_binary())
    values = pa.array([decode_identifier(each)[1].encode() for each in identifiers], pa.large_binary())
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                texts = _texts(column)
                if texts is None:
                    continue
                if pc.any(pc.is_in(texts, value_set=encoded)).as_py() and path.name not in scan.found:
                    scan.found.append(path.name)
                if name not in _IDENTIFIERS:
                    scan.equal_texts += pc.sum(pc.is_in(texts, value_set=values)).as_py() or 0


def _texts(column: pa.Array) -> pa.Array | None:
    """The texts of a column as bytes; None if it has none."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    held = column.type
    if pa.types.is_string(held) or pa.types.is_large_string(held):
        return column.cast(pa.large_binary())
    return column.cast(pa.large_binary()) if pa.types.is_binary(held) or pa.types.is_large_binary(held) else None


def log_records(path: Path) -> Iterator[LogRecord]:
    """The intact records of a segment of the log from its beginning on."""
    with path.open("rb") as file:
        if path.stat().st_size <= FILE_HEADER_BYTES:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            version = decode_file_header(data[:FILE_HEADER_BYTES])
            record = None if version is None else decode_record(data, FILE_HEADER_BYTES, version)
            while version is not None and record is not None:
                yield record
                record = decode_record(data, record.end, version) if record.end < len(data) else None


def _named_in_log(path: Path, identifiers: Sequence[bytes]) -> Iterator[frozenset[bytes]]:
    """The identifiers that each record of a segment names, of records with the bytes of one of these."""
    for record in log_records(path):
        if any(each in record.payload for each in identifiers):
            yield _named_by(Logged.decode(record))


def _named_by(logged: Logged) -> frozenset[bytes]:
    match logged.meaning:
        case RecordBatch(identities=identities, givers=givers):
            return _all_of(identities) | _all_of(givers)
        case Erasure(identifiers=identifiers):
            return frozenset(identifiers)
        case Links(lower=lower, upper=upper):
            return _all_of(lower) | _all_of(upper)
        case Departure(moves=pairs):
            return frozenset(each for pair in pairs for each in pair)
        case Arrival(parcel=parcel):
            return _all_of(parcel.records.identities) | {each for pair in parcel.parents for each in pair}
        case Quarantined(batch=batch, links=links):
            return _all_of(batch.identities) | _all_of(links.lower) | _all_of(links.upper)
        case Recall(identifier=identifier, parent=parent):
            return frozenset((identifier, parent))
    return frozenset()


def _all_of(table: Strings) -> frozenset[bytes]:
    return frozenset(table[at] for at in range(len(table)))


def _count(offsets: AnyArray, data: U8, wanted: bytes) -> int:
    """Number of strings that equal one."""
    starts = offsets[:-1][np.diff(offsets.astype(np.int64)) == len(wanted)].astype(np.int64)
    for place, byte in enumerate(wanted):
        starts = starts[data[starts + place] == byte]
    return int(starts.shape[0])
