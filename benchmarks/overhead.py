"""Where the time of a question goes that scans nothing: client, transport, router, shard."""

from __future__ import annotations

import time
from typing import Final

import grpc
import numpy as np
from cdp.v1 import query_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cdp_router.client import Client

_ROUNDS: Final = 400
_WARM_ROUNDS: Final = 50


def measure_overhead(client: Client, address: str) -> dict[str, float]:
    """Medians in milliseconds of `everyone`, and of its parts.

    The router reports its own time and that of the slowest shard's engine. A call that does nothing, of the health
    service, is taken for the transport between client and router. Between router and shards, transport is in the
    router's part.
    """
    request = query_pb2.QueryRequest(text="everyone")
    total, router, engine = list[float](), list[float](), list[float]()
    for number in range(_WARM_ROUNDS + _ROUNDS):
        began = time.perf_counter()
        answer = client.query(request)
        took = (time.perf_counter() - began) * 1e3
        if number >= _WARM_ROUNDS:
            total.append(took)
            router.append(answer.milliseconds)
            engine.append(answer.engine_milliseconds)
    whole, inner, transport = np.array(total), np.array(router), _transport_ms(address)
    return {
        "everyone_ms": _median(whole),
        "everyone_p99_ms": round(float(np.percentile(whole, 99)), 3),
        "transport_ms": round(transport, 3),
        "client_ms": round(_median(whole - inner) - transport, 3),
        "router_and_its_transport_ms": _median(inner - np.array(engine)),
        "shard_engine_ms": _median(np.array(engine)),
    }


def _median(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return round(float(np.median(samples)), 3)


def _transport_ms(address: str) -> float:
    with grpc.insecure_channel(address) as channel:
        health, took = health_pb2_grpc.HealthStub(channel), list[float]()
        for _ in range(_WARM_ROUNDS + _ROUNDS):
            began = time.perf_counter()
            health.Check(health_pb2.HealthCheckRequest())
            took.append((time.perf_counter() - began) * 1e3)
    return float(np.median(took[_WARM_ROUNDS:]))
