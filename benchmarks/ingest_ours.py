"""How fast our cluster makes arriving events durable: rows in two encodings, columns, a file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cdp.v1 import ingest_pb2

from benchmarks.cluster import running_cluster
from benchmarks.dataset import Dataset
from benchmarks.engines import THREADS
from benchmarks.ours import arrow_stream, renamed
from cdp_router.client import Client
from cdp_router.contract.values import to_timestamp, to_values
from cdp_store.values import to_ms

ROWS_PER_BATCH: Final = 2_000
SMALL_BATCH_ROWS: Final = 100  # as SDKs send them, whose records have message ids
COLUMN_ROWS_PER_BATCH: Final = 100_000
ROW_EVENTS_MAX: Final = 200_000
COLUMN_EVENTS_MAX: Final = 2_000_000
_IN_FLIGHT: Final = 4
_SMALL_IN_FLIGHT: Final = 64


def measure_our_ingest(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Per road into a fresh cluster: durable events per second, and milliseconds until a batch was acknowledged."""
    manifest = dataset.manifest()
    assert manifest is not None, "the data set is complete"
    column_rows = min(COLUMN_ROWS_PER_BATCH, manifest.event_count // 8)
    return {
        "rows_msgpack": _measured(dataset, list(_row_batches(dataset, msgpack_batch)), ROWS_PER_BATCH),
        "rows_msgpack_small": _measured(
            dataset, list(_row_batches(dataset, sdk_batch, SMALL_BATCH_ROWS)), SMALL_BATCH_ROWS, _SMALL_IN_FLIGHT
        ),
        "rows_protobuf": _measured(dataset, list(_row_batches(dataset, protobuf_batch)), ROWS_PER_BATCH),
        "columns_arrow": _measured(dataset, list(_column_batches(dataset, column_rows)), column_rows),
        "file_import": _file_import(dataset),
    }


def _measured(
    dataset: Dataset, batches: list[ingest_pb2.Batch], batch_rows: int, in_flight: int = _IN_FLIGHT
) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="ingest-", dir=dataset.directory.parent) as folder,
        running_cluster(Path(folder), THREADS) as address,
        Client(address) as client,
        ThreadPoolExecutor(in_flight) as threads,
    ):
        client.ingest(batches[0])
        began = time.perf_counter()
        acks_ms = list(threads.map(lambda batch: _timed(client, batch), batches[1:]))
        seconds = time.perf_counter() - began
    events = (len(batches) - 1) * batch_rows
    p50, p99 = np.percentile(acks_ms, (50, 99))
    return {
        "events": events,
        "batch_rows": batch_rows,
        "events_per_second": round(events / seconds),
        "ack_p50_ms": round(float(p50), 3),
        "ack_p99_ms": round(float(p99), 3),
    }


def _timed(client: Client, batch: ingest_pb2.Batch) -> float:
    began = time.perf_counter()
    result = client.ingest(batch)
    if result.errors:
        raise ValueError(f"{len(result.errors)} records were rejected, the first: {result.errors[0]}")
    return (time.perf_counter() - began) * 1e3


def event_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The events in order of arrival as Python rows; what is null is left out."""
    for path in dataset.event_parts:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_BATCH):
            for row in batch.to_pylist():
                yield {name: value for name, value in row.items() if value is not None}


def _row_batches(
    dataset: Dataset,
    encode: Callable[[bytes, list[dict[str, Any]]], ingest_pb2.Batch],
    batch_rows: int = ROWS_PER_BATCH,
) -> Iterator[ingest_pb2.Batch]:
    rows = islice(event_rows(dataset), ROW_EVENTS_MAX)
    number = 0
    while len(part := list(islice(rows, batch_rows))) == batch_rows:
        yield encode(str(number).encode(), part)
        number += 1


def msgpack_batch(batch_id: bytes, rows: list[dict[str, Any]]) -> ingest_pb2.Batch:
    """Rows as the arrays of `msgpack_rows`; what tells repeats is the batch's id."""
    return _packed(batch_id, rows, [None] * len(rows))


def sdk_batch(batch_id: bytes, rows: list[dict[str, Any]]) -> ingest_pb2.Batch:
    """The same as SDKs send them: every record has a message id."""
    return _packed(batch_id, rows, [f"{batch_id.hex()}-{number}" for number in range(len(rows))])


def _packed(batch_id: bytes, rows: list[dict[str, Any]], message_ids: Sequence[str | None]) -> ingest_pb2.Batch:
    packed = msgspec.msgpack.encode(
        [
            (row.pop("event"), row.pop("user_id"), None, to_ms(row.pop("ts")), message_id, row)
            for row, message_id in zip(rows, message_ids, strict=True)
        ]
    )
    return ingest_pb2.Batch(batch_id=batch_id, msgpack_rows=packed)


def protobuf_batch(batch_id: bytes, rows: list[dict[str, Any]]) -> ingest_pb2.Batch:
    """Rows as protobuf records."""
    records = [
        ingest_pb2.Record(
            user_id=row.pop("user_id"),
            time=to_timestamp(to_ms(row.pop("ts"))),
            event=ingest_pb2.EventRecord(name=row.pop("event"), properties=to_values(row)),
        )
        for row in rows
    ]
    return ingest_pb2.Batch(batch_id=batch_id, rows=ingest_pb2.RecordRows(records=records))


def _column_batches(dataset: Dataset, batch_rows: int) -> Iterator[ingest_pb2.Batch]:
    files = (pq.ParquetFile(path) for path in dataset.event_parts)
    tables = chain.from_iterable(file.iter_batches(batch_rows) for file in files)
    whole = (table for table in tables if len(table) == batch_rows)
    for number, table in enumerate(islice(whole, COLUMN_EVENTS_MAX // batch_rows)):
        columns = arrow_stream(renamed(pa.Table.from_batches([table]), {"ts": "time"}))
        yield ingest_pb2.Batch(batch_id=str(number).encode(), arrow_columns=columns)


def _file_import(dataset: Dataset) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=dataset.directory.parent) as folder:
        path = Path(folder) / "events.parquet"
        pq.write_table(pq.ParquetFile(dataset.event_parts[0]).read().slice(0, ROW_EVENTS_MAX), path)
        events = pq.ParquetFile(path).metadata.num_rows
        with running_cluster(Path(folder) / "data", THREADS) as address:
            command = [sys.executable, "-m", "cdp_router", "import", "--address", address, str(path)]
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
    return {"events": events, "events_per_second": round(events / seconds)}
