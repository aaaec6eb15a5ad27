"""Questions a second with more and more clients, each a process of its own that asks again when it is answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import numpy as np
from cdp.v1 import query_pb2

from benchmarks.queries import QUERIES
from cdp_router.client import Client
from cdp_router.contract.values import to_timestamp

CLIENTS: Final = (1, 4, 16, 64)
_QUESTION: Final = "recent_count"
SECONDS: Final = 5.0
_START_SECONDS: Final = 120.0


def measure_concurrency(
    address: str, counts: Sequence[int] = CLIENTS, seconds: float = SECONDS
) -> dict[str, dict[str, float]]:
    """By number of clients: questions a second of all together, and milliseconds of one."""
    return {str(count): _measured(address, count, seconds) for count in counts}


def _measured(address: str, count: int, seconds: float) -> dict[str, float]:
    context = get_context("spawn")
    began = context.Barrier(count)
    with context.Pool(count, _join, (address, began)) as pool:
        took = pool.map(_ask, [seconds] * count, chunksize=1)
    samples = np.concatenate([np.array(each) for each in took])
    p50, p99 = np.percentile(samples, (50, 99))
    return {
        "questions_per_second": round(len(samples) / seconds, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


_joined: dict[str, Any] = {}  # of a client's process


def _join(address: str, began: Barrier) -> None:
    _joined.update(client=Client(address), began=began)


def _ask(seconds: float) -> list[float]:
    """Milliseconds of each question until the time is up; all clients begin together."""
    client, query = _joined["client"], QUERIES[_QUESTION]
    request = query_pb2.QueryRequest(text=query.ours, as_of=to_timestamp(query.as_of_ms))
    client.query(request)
    _joined["began"].wait(_START_SECONDS)
    took, end = list[float](), time.perf_counter() + seconds
    while (sent := time.perf_counter()) < end:
        client.query(request)
        took.append((time.perf_counter() - sent) * 1e3)
    return took
