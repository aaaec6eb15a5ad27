"""Queries beside ingest and snapshots, and a restart: a cluster that is not alone with one question."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from cdp.v1 import ingest_pb2, query_pb2

from benchmarks.cluster import running_cluster
from benchmarks.concurrency import measure_concurrency
from benchmarks.dataset import Dataset
from benchmarks.engines import THREADS, answers
from benchmarks.ingest_ours import event_rows, sdk_batch
from benchmarks.live import measure_live
from benchmarks.ours import attribute_batches, event_batches, memory_bytes, send_all
from benchmarks.overhead import measure_overhead
from benchmarks.queries import QUERIES
from benchmarks.senders import SENDERS, arriving
from cdp_router.client import Client
from cdp_router.contract.values import to_timestamp

EVENTS_PER_SECOND: Final = 20_000
_BATCH_ROWS: Final = 500
_ROUNDS: Final = 8
_SENDING_SECONDS: Final = 60  # at most, both measurements together


def measure_cluster(dataset: Dataset, *, is_short: bool = False) -> dict[str, dict[str, Any]]:
    """The sections that need a loaded cluster: store, overhead, concurrency, live, mixed and snapshot."""
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=dataset.directory.parent) as folder:
        with running_cluster(Path(folder), THREADS) as address, Client(address) as client:
            store = _load(client, dataset)
            overhead = measure_overhead(client, address)
            if is_short:
                concurrency, live = measure_concurrency(address, (1, 2), 0.2), measure_live(client, dataset, 0.2)
            else:
                concurrency, live = measure_concurrency(address), measure_live(client, dataset)
            mixed = _measure_mixed(client, dataset)
            events, held_bytes = _events(client), memory_bytes(client)
            began = time.perf_counter()
            written = client.snapshot()
            write_seconds = time.perf_counter() - began
        disk_bytes = sum(shard.bytes_written + shard.bytes_shared for shard in written.shards)
        began = time.perf_counter()
        with running_cluster(Path(folder), THREADS) as address:
            restart_seconds = time.perf_counter() - began
            with Client(address) as client:
                recovered = _events(client)
    if recovered != events:
        raise ValueError(f"{recovered} events after the restart, {events} before")
    return {
        "store": store,
        "overhead": overhead,
        "concurrency": concurrency,
        "live": live,
        "mixed": mixed,
        "snapshot": {
            "restart_seconds": round(restart_seconds, 2),
            "restart_events_per_second": round(events / restart_seconds),
            "restart_from": "snapshot",
            "disk_bytes_per_event": round(disk_bytes / events, 1),
            "later_write_seconds": round(write_seconds, 2),
            "read_mb_per_second": round(held_bytes / restart_seconds / 1e6, 1),
        },
    }


def _load(client: Client, dataset: Dataset) -> dict[str, Any]:
    """Send everything; what profiles and events take in memory, each apart, as the store accounts for it."""
    send_all(client, attribute_batches(dataset), "attributes")
    profiles, of_profiles = _profiles(client), memory_bytes(client)
    send_all(client, event_batches(dataset), "events")
    events, whole = _events(client), memory_bytes(client)
    return {
        "bytes_per_profile": round(of_profiles / profiles, 1),
        "bytes_per_event": round((whole - of_profiles) / events, 1),
    }


def _profiles(client: Client) -> int:
    return sum(partition.profiles for shard in client.status().shards for partition in shard.partitions)


def _events(client: Client) -> int:
    return sum(partition.events for shard in client.status().shards for partition in shard.partitions)


def _measure_mixed(client: Client, dataset: Dataset) -> dict[str, Any]:
    idle = _query_rounds(client)
    batches = [sdk_batch(f"mixed {n}".encode(), rows) for n, rows in enumerate(_arriving(dataset))]
    busy, acks_ms, rate, _ = _beside(client, batches, with_snapshots=False)
    in_snapshot, later_acks_ms, later_rate, snapshots = _beside(
        client, batches[len(acks_ms) + SENDERS :], with_snapshots=True
    )
    return {
        "offered_events_per_second": EVENTS_PER_SECOND,
        "taken_events_per_second": rate,
        **_percentiles("query_idle", idle),
        **_percentiles("query_busy", busy),
        **_percentiles("ack", acks_ms),
        "query_p99_ratio": _p99_ratio(busy, idle),
        "snapshots_one_after_the_other": len(snapshots),
        # The first one writes everything that is held, the later ones what has changed.
        "first_snapshot_seconds": round(snapshots[0], 2),
        "first_snapshot_mb_per_second": round(memory_bytes(client) / snapshots[0] / 1e6, 1),
        "taken_events_per_second_in_snapshots": later_rate,
        **_percentiles("query_in_snapshots", in_snapshot),
        **_percentiles("ack_in_snapshots", later_acks_ms),
        "query_p99_ratio_in_snapshots": _p99_ratio(in_snapshot, idle),
    }


def _beside(
    client: Client, batches: Sequence[ingest_pb2.Batch], *, with_snapshots: bool
) -> tuple[list[float], list[float], int, list[float]]:
    """Queries while events arrive, and snapshots are taken without a pause: (ms of each query, ms of each ack, events
    taken per second, seconds of each snapshot).
    """
    stop, snapshots = threading.Event(), list[float]()
    taking = threading.Thread(target=_take_snapshots, args=(client, stop, snapshots))
    if with_snapshots:
        taking.start()
    began = time.perf_counter()
    with arriving(client, batches, _BATCH_ROWS, EVENTS_PER_SECOND) as acks_ms:
        took = _query_rounds(client)
    seconds = time.perf_counter() - began
    stop.set()
    if with_snapshots:
        taking.join()
    return took, acks_ms, round(len(acks_ms) * _BATCH_ROWS / seconds), snapshots


def _take_snapshots(client: Client, stop: threading.Event, seconds: list[float]) -> None:
    while not stop.is_set():
        began = time.perf_counter()
        client.snapshot()
        seconds.append(time.perf_counter() - began)


def _p99_ratio(samples: Sequence[float], idle: Sequence[float]) -> float:
    return round(float(np.percentile(samples, 99) / np.percentile(idle, 99)), 2)


def _arriving(dataset: Dataset) -> list[list[dict[str, Any]]]:
    rows = event_rows(dataset)
    return [list(islice(rows, _BATCH_ROWS)) for _ in range(EVENTS_PER_SECOND * _SENDING_SECONDS // _BATCH_ROWS)]


def _query_rounds(client: Client) -> list[float]:
    took = list[float]()
    for _ in range(_ROUNDS):
        for query in QUERIES.values():
            if not answers("ours", query.name) or query.kind.value == "ids":
                continue
            request = query_pb2.QueryRequest(text=query.ours, by=query.by or "", as_of=to_timestamp(query.as_of_ms))
            began = time.perf_counter()
            client.query(request)
            took.append((time.perf_counter() - began) * 1e3)
    return took


def _percentiles(what: str, samples: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(samples, (50, 99))
    return {f"{what}_p50_ms": round(float(p50), 3), f"{what}_p99_ms": round(float(p99), 3)}
