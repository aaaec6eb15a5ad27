"""Files read, mapped and sent as `cdp import` does, to a cluster that only looks at what comes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdp.v1 import ingest_pb2
from rich.progress import Progress

from cdp_router.cli.data.importing import _Loading
from cdp_router.cli.data.row_mapping import AUTO, ColumnMapping, is_time
from cdp_router.cli.data.sources import open_source
from cdp_router.importing.read_options import Reading
from cdp_router.records.columnarise import columnarise
from cdp_store.ids import decode_identifier
from cdp_store.records.records import ATTRIBUTES, RecordBatch
from cdp_store.values import TEXT_KINDS, decode_value

NOW_MS = 1_798_761_600_000  # 2027-01-01


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it would be stored."""

    user: str
    event: str | None
    time_ms: int
    values: dict[str, Any]


@dataclass(slots=True)
class Taking:
    """Takes batches, and knows batch ids and message ids it has seen."""

    records: list[Record] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        """Take a batch."""
        self.encodings.append(str(batch.WhichOneof("records")))
        found = columnarise(batch, NOW_MS)
        given = list(zip(_records(found.batch), found.batch.message_ids, strict=True))
        if batch.batch_id in self.seen:
            return ingest_pb2.BatchResult(duplicates=len(given), errors=found.errors)
        self.seen.add(batch.batch_id)
        accepted = 0
        for record, message_id in given:
            if not message_id or message_id not in self.seen:
                self.records.append(record)
                accepted += 1
            self.seen.add(message_id)
        return ingest_pb2.BatchResult(accepted=accepted, duplicates=len(given) - accepted, errors=found.errors)


def _records(batch: RecordBatch) -> list[Record]:
    found = list[Record]()
    for at in range(len(batch)):
        name, values = int(batch.record_names[at]), dict[str, Any]()
        for triple in range(batch.property_offsets[at], batch.property_offsets[at + 1]):
            kind, raw = int(batch.triple_kinds[triple]), int(batch.triple_raws[triple])
            text = batch.strings[raw] if kind in TEXT_KINDS else None
            values[batch.keys[batch.triple_keys[triple]]] = decode_value(kind, raw, text)
        _, user = decode_identifier(batch.identities[int(batch.record_identities[at])])
        event = None if name == ATTRIBUTES else batch.names[name]
        found.append(Record(user, event, int(batch.record_times[at]), values))
    return found


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of files: how many records were new, known, or rejected with which code and words."""

    accepted: int
    duplicates: int
    codes: dict[str, int]
    said: str


def import_into(
    client: Any, paths: Sequence[Path], label: str = "", reading: Reading | None = None, **mapped: Any
) -> Imported:
    """Send files to whatever takes batches."""
    mapping = ColumnMapping(**{"time_unit": AUTO, **mapped})
    how = reading or Reading(is_time=lambda text: is_time(text, mapping))
    with Progress(disable=True) as progress, ThreadPoolExecutor(1) as threads:
        loading = _Loading(client, mapping, threads, progress, how, label)
        for path in paths:
            loading.load(open_source(path, None, how, mapping), progress.add_task("", rows=0))
    said = "\n".join(place for places in loading.rejections.examples.values() for place in places)
    return Imported(loading.accepted, loading.duplicates, loading.rejections.counts, said)


def imported(path: Path, **options: Any) -> tuple[list[Record], Imported]:
    """The records of a file as they would be stored, and what became of the others."""
    taking = Taking()
    outcome = import_into(taking, [path], **options)
    return taking.records, outcome
