"""Where the time of a question goes that scans nothing: client and transport, router, shard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import grpc
import numpy as np
from cdp.v1 import query_pb2, query_pb2_grpc

from cdp_router.client import Client

_ROUNDS: Final = 400
_WARM_ROUNDS: Final = 50
_Medians = dict[str, float]


def measure_overhead(client: Client, address: str) -> _Medians:
    """Medians in milliseconds of `everyone`, and of its parts.

    The router reports its own time and that of the slowest shard's engine; the rest is the client, and the transport
    between client and router. Between router and shards, transport is in the router's part. A client of the router's
    machine asks over a pipe; those of other machines, and of other languages, over gRPC.
    """
    whole, inner, engine = _asked(client.query)
    with grpc.insecure_channel(address) as channel:
        over_grpc, _, _ = _asked(query_pb2_grpc.QueryServiceStub(channel).Query)
    return {
        "everyone_ms": _median(whole),
        "everyone_p99_ms": round(float(np.percentile(whole, 99)), 3),
        "everyone_over_grpc_ms": _median(over_grpc),
        "client_and_transport_ms": _median(whole - inner),
        "router_and_its_transport_ms": _median(inner - engine),
        "shard_engine_ms": _median(engine),
    }


_Samples = np.ndarray[tuple[int], np.dtype[np.float64]]


def _asked(ask: Callable[[query_pb2.QueryRequest], query_pb2.QueryResponse]) -> tuple[_Samples, _Samples, _Samples]:
    """Milliseconds of each question as a whole, at the router, and in the engine of the slowest shard."""
    request, took = query_pb2.QueryRequest(text="everyone"), list[tuple[float, float, float]]()
    for _ in range(_WARM_ROUNDS + _ROUNDS):
        began = time.perf_counter()
        answer = ask(request)
        took.append(((time.perf_counter() - began) * 1e3, answer.milliseconds, answer.engine_milliseconds))
    whole, inner, engine = np.array(took[_WARM_ROUNDS:]).T
    return whole, inner, engine


def _median(samples: _Samples) -> float:
    return round(float(np.median(samples)), 3)
