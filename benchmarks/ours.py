"""Our own engine: a cluster of two shards in processes of its own, asked through the router's gRPC."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from cdp.v1 import ingest_pb2, query_pb2

from benchmarks.answers import AnswerKind
from benchmarks.cluster import running_cluster
from benchmarks.dataset import Dataset
from benchmarks.engines import THREADS
from benchmarks.queries import QUERIES, Query
from benchmarks.timings import Inner
from cdp_router.client import Client
from cdp_router.contract.values import to_timestamp

BATCH_ROWS: Final = 200_000
_IN_FLIGHT: Final = 3


class OurEngine:
    """Holds a data set in a running cluster."""

    name = "ours"

    def __init__(self) -> None:
        self.version = version("cdp")
        self.memory_bytes = 0
        self.inner: Inner | None = None
        self._stack = ExitStack()
        self._client: Client | None = None

    def load(self, dataset: Dataset) -> None:
        """Start the cluster and send everything as Arrow columns."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-", dir=dataset.directory.parent))
        address = self._stack.enter_context(running_cluster(Path(folder), THREADS))
        self._client = self._stack.enter_context(Client(address))
        send_all(self._client, record_batches(dataset))
        self.memory_bytes = memory_bytes(self._client)

    def run(self, query_name: str) -> Any:
        """Ask over gRPC; `inner` then tells what the slowest shard spent in its engine, and the bytes of all shards."""
        assert self._client is not None, "load comes first"
        query = QUERIES[query_name]
        if query.kind is AnswerKind.IDS:
            self.inner = None
            return _member_ids(self._client, query)
        answer = self._client.query(
            query_pb2.QueryRequest(text=query.ours, by=query.by or "", as_of=to_timestamp(query.as_of_ms))
        )
        self.inner = Inner(answer.engine_milliseconds, answer.bytes_scanned)
        return _comparable(query, answer)

    def close(self) -> None:
        """Stop the cluster and remove its data."""
        self._stack.close()


def _comparable(query: Query, answer: query_pb2.QueryResponse) -> Any:
    if query.kind is AnswerKind.FUNNEL:
        return [step.count for step in answer.funnel]
    if answer.HasField("trend"):
        return [[row.label, row.events, row.users] for row in answer.trend.rows]
    if answer.HasField("retention"):
        return [[row.label, row.users, *row.returned] for row in answer.retention.rows]
    if query.kind is AnswerKind.TABLE:
        return [[row.value.text or "(none)", row.count] for row in answer.breakdown]
    return answer.count


def _member_ids(client: Client, query: Query) -> pa.ChunkedArray:
    request = query_pb2.MembersRequest(text=query.ours, as_of=to_timestamp(query.as_of_ms))
    stream = b"".join(response.arrow for response in client.members(request))
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all().column("id")


def memory_bytes(client: Client) -> int:
    """What the partitions of a cluster account for, all structures together."""
    return sum(sum(partition.memory.values()) for shard in client.status().shards for partition in shard.partitions)


def record_batches(dataset: Dataset) -> Iterator[pa.Table]:
    """Attributes, then events."""
    yield from attribute_batches(dataset)
    yield from event_batches(dataset)


def attribute_batches(dataset: Dataset) -> Iterator[pa.Table]:
    """Attributes as first set, then later changes, in the columns that `arrow_columns` takes."""
    for path in (dataset.profiles, dataset.changes):
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            yield renamed(pa.Table.from_batches([batch]), {"set_at": "time"})


def event_batches(dataset: Dataset) -> Iterator[pa.Table]:
    """Events, in the columns that `arrow_columns` takes."""
    for path in dataset.event_parts:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            yield renamed(pa.Table.from_batches([batch]), {"ts": "time"})


def renamed(table: pa.Table, names: dict[str, str]) -> pa.Table:
    """The table with some columns under other names."""
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def send_all(client: Client, tables: Iterator[pa.Table], name: str = "all") -> None:
    """Send tables, a few at a time, each acknowledged as durable; `name` tells their batches from other calls'."""
    in_flight = deque[Future[ingest_pb2.BatchResult]]()
    with ThreadPoolExecutor(_IN_FLIGHT) as threads:
        for number, table in enumerate(tables):
            batch = ingest_pb2.Batch(batch_id=f"{name}-{number}".encode(), arrow_columns=arrow_stream(table))
            in_flight.append(threads.submit(client.ingest, batch, 300.0, 300.0))
            while len(in_flight) >= _IN_FLIGHT:
                _check(in_flight.popleft().result())
        while in_flight:
            _check(in_flight.popleft().result())


def _check(result: ingest_pb2.BatchResult) -> None:
    if result.errors:
        raise ValueError(f"{len(result.errors)} records were rejected, the first: {result.errors[0]}")


def arrow_stream(table: pa.Table) -> bytes:
    """A table as Arrow IPC bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
