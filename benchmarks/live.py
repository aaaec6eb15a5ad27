"""Every question while events arrive: unsorted deltas and overlapping chunks are there, nothing is settled first."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2, query_pb2

from benchmarks.dataset import Dataset
from benchmarks.engines import answers
from benchmarks.ours import arrow_stream, event_batches
from benchmarks.queries import QUERIES, Query
from benchmarks.scales import AS_OF_MS, DAY_MS
from benchmarks.senders import arriving
from benchmarks.timings import geometric_mean
from cdp_router.client import Client
from cdp_router.contract.values import to_timestamp

EVENTS_PER_SECOND: Final = 20_000
_BATCH_ROWS: Final = 2_000
_RECENT_MS: Final = 20 * DAY_MS  # the events that arrive are of these days
LEAD_SECONDS: Final = 30.0  # of load before anything is measured
_SETTLED_ROUNDS: Final = 10
_LIVE_ROUNDS: Final = 20
_LIVE_SECONDS_MAX: Final = 300.0


def measure_live(client: Client, dataset: Dataset, lead_seconds: float = LEAD_SECONDS) -> dict[str, Any]:
    """By question the median of a settled store, median and p99 while events arrive, and the ratio of the medians."""
    asked = [query for query in QUERIES.values() if answers("ours", query.name) and query.kind.value != "ids"]
    settled = _rounds(client, asked, _SETTLED_ROUNDS)
    seconds = min(_LIVE_SECONDS_MAX, 10 * lead_seconds)
    batches = arriving_batches(dataset, round(EVENTS_PER_SECOND * seconds / _BATCH_ROWS))
    with arriving(client, batches, _BATCH_ROWS, EVENTS_PER_SECOND) as acks_ms:
        time.sleep(lead_seconds)
        began, before = time.perf_counter(), len(acks_ms)
        live = _rounds(client, asked, _LIVE_ROUNDS)
        rate = (len(acks_ms) - before) * _BATCH_ROWS / (time.perf_counter() - began)
    rows = {query.name: _row(settled[query.name], live[query.name]) for query in asked}
    return {
        "taken_events_per_second": round(rate),
        "lead_seconds": lead_seconds,
        "ratio_geomean": round(geometric_mean(row["ratio"] for row in rows.values()) or 0.0, 2),
        "ratio_largest": max(row["ratio"] for row in rows.values()),
        "queries": rows,
    }


def arriving_batches(dataset: Dataset, count: int) -> list[ingest_pb2.Batch]:
    """Batches of Arrow columns with the events of a data set, moved into the last days before AS_OF_MS."""
    random, found = np.random.default_rng(5), list[ingest_pb2.Batch]()
    pieces = (
        table.slice(at, _BATCH_ROWS)
        for table in event_batches(dataset)
        for at in range(0, len(table) - _BATCH_ROWS + 1, _BATCH_ROWS)
    )
    for number, piece in enumerate(islice(pieces, count)):
        times = np.sort(random.integers(AS_OF_MS - _RECENT_MS, AS_OF_MS, len(piece)))
        at = piece.schema.get_field_index("time")
        moved = piece.set_column(at, "time", pa.array(times, pa.int64()).cast(piece.schema.field(at).type))
        found.append(ingest_pb2.Batch(batch_id=b"live %d" % number, arrow_columns=arrow_stream(moved)))
    return found


def _rounds(client: Client, asked: list[Query], rounds: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {query.name: [] for query in asked}
    for _ in range(rounds):
        for query in asked:
            request = query_pb2.QueryRequest(text=query.ours, by=query.by or "", as_of=to_timestamp(query.as_of_ms))
            began = time.perf_counter()
            client.query(request)
            took[query.name].append((time.perf_counter() - began) * 1e3)
    return took


def _row(settled: list[float], live: list[float]) -> dict[str, float]:
    before, (now, last) = float(np.median(settled)), np.percentile(live, (50, 99))
    return {
        "settled_p50_ms": round(before, 3),
        "live_p50_ms": round(float(now), 3),
        "live_p99_ms": round(float(last), 3),
        "ratio": round(float(now) / before, 2),
    }
