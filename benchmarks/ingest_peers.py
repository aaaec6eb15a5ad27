"""How fast the peers make arriving batches of events durable: each batch is on disk before the next one is sent."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dataset import Dataset
from benchmarks.engines import ENGINES, THREADS
from benchmarks.processes import run_isolated

BATCH_ROWS: Final = 100_000
EVENTS_MAX: Final = 2_000_000

Ingest = Callable[[list[pa.Table], Path], list[float]]


def measure_ingest(peers: Iterable[str], dataset: Dataset) -> dict[str, dict[str, float]]:
    """Per peer: durable events per second and the milliseconds until a batch was durable (p50, p99)."""
    return {
        peer: run_isolated(_measure, peer, dataset, environment=ENGINES[peer].environment)
        for peer in peers
        if peer in _INGESTS
    }


def arriving_batches(dataset: Dataset, events_max: int = EVENTS_MAX) -> list[pa.Table]:
    """The first events of the data set in order of arrival, in batches, decoded beforehand."""
    files = (pq.ParquetFile(path) for path in dataset.event_parts)
    batches = chain.from_iterable(file.iter_batches(BATCH_ROWS) for file in files)
    taken: list[pa.Table] = []
    rows = 0
    for batch in batches:
        if rows >= events_max:
            break
        taken.append(_plain(pa.Table.from_batches([batch])))
        rows += len(batch)
    return taken


def _plain(table: pa.Table) -> pa.Table:
    """Strings instead of dictionaries, which not every engine takes from Arrow."""
    fields = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def _measure(peer: str, dataset: Dataset) -> dict[str, float]:
    batches = arriving_batches(dataset)
    # Beside the data set, so that it is a real disk that makes the batches durable.
    with tempfile.TemporaryDirectory(dir=dataset.directory.parent, prefix="ingest-") as directory:
        acks_ms = _INGESTS[peer](batches, Path(directory))
    events = sum(len(batch) for batch in batches)
    p50, p99 = np.percentile(acks_ms, (50, 99))
    return {
        "events": events,
        "batch_rows": BATCH_ROWS,
        "events_per_second": round(events / (sum(acks_ms) / 1e3)),
        "ack_p50_ms": round(float(p50), 3),
        "ack_p99_ms": round(float(p99), 3),
    }


def _timed(write: Callable[[int, pa.Table], Any], batches: list[pa.Table]) -> list[float]:
    acks_ms = []
    for number, batch in enumerate(batches):
        began = time.perf_counter()
        write(number, batch)
        acks_ms.append((time.perf_counter() - began) * 1e3)
    return acks_ms


def _duckdb(batches: list[pa.Table], directory: Path) -> list[float]:
    import duckdb

    with closing(duckdb.connect(str(directory / "events.duckdb"))) as connection:
        connection.execute(f"SET threads = {THREADS}")
        connection.register("arriving", batches[0])
        connection.execute("CREATE TABLE events AS SELECT * FROM arriving LIMIT 0")

        def write(_: int, batch: pa.Table) -> None:
            connection.register("arriving", batch)
            connection.execute("INSERT INTO events SELECT * FROM arriving")

        return _timed(write, batches)


_MERGE_TREE = """
    CREATE TABLE bench.events (
        user_id String, event LowCardinality(String), ts DateTime64(3, 'UTC'), amount Nullable(Float64),
        category LowCardinality(Nullable(String)), quantity Nullable(Int32), flag Nullable(Bool),
        order_id Nullable(String)
    ) ENGINE = MergeTree ORDER BY (event, user_id, ts) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"""


def _chdb(batches: list[pa.Table], directory: Path) -> list[float]:
    from chdb.session import Session

    opened: Any = Session(str(directory))  # type: ignore[no-untyped-call]
    with closing(opened) as session:
        session.query(f"SET max_threads = {THREADS}, max_insert_threads = {THREADS}")
        session.query("CREATE DATABASE bench")
        session.query(_MERGE_TREE)

        def write(_: int, arriving: pa.Table) -> None:  # noqa: ARG001
            # The table function finds the Arrow table by the name of its variable.
            session.query("INSERT INTO bench.events SELECT * FROM Python(arriving)")

        return _timed(write, batches)


def _write_parquet(directory: Path, to_frame: Callable[[pa.Table], Any], number: int, batch: pa.Table) -> None:
    path = directory / f"part-{number:05d}.parquet"
    to_frame(batch).write_parquet(path)
    for durable in (path, directory):
        descriptor = os.open(durable, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _polars(batches: list[pa.Table], directory: Path) -> list[float]:
    import polars

    return _timed(partial(_write_parquet, directory, polars.from_arrow), batches)


_INGESTS: Final[Mapping[str, Ingest]] = {"duckdb": _duckdb, "chdb": _chdb, "polars": _polars}
