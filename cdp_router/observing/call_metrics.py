"""Counts and durations of calls."""

from __future__ import annotations

from typing import Final

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cdp_router.rpc.call import Call

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CallMetrics:
    """An observer of calls; its counters of a method are looked up once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("service", "method")
        self._handled = Counter("cdp_rpc_handled", "Calls that have ended.", (*labels, "code"), registry=registry)
        self._seconds = Histogram(
            "cdp_rpc_duration_seconds", "How long calls took.", labels, registry=registry, buckets=SECONDS
        )
        self._running = Gauge("cdp_rpc_in_flight", "Calls that run.", registry=registry)
        self._children = dict[tuple[str, str, grpc.StatusCode], tuple[Counter, Histogram]]()
        self._retried = Counter("cdp_rpc_retries", "Calls that were second or later attempts.", registry=registry)

    def began(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Counts a call that came in."""
        self._running.inc()
        if call.previous_attempts:
            self._retried.inc()

    def ended(self, call: Call, seconds: float) -> None:
        """Counts a call that has ended."""
        self._running.dec()
        key = (call.service, call.method, call.code)
        if (children := self._children.get(key)) is None:
            handled = self._handled.labels(call.service, call.method, call.code.name)
            children = self._children[key] = handled, self._seconds.labels(call.service, call.method)
        children[0].inc()
        children[1].observe(seconds)
