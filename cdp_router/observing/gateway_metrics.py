"""Counts of a gateway: requests answered, records accepted or kept aside."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdp_router.observing.background_metrics import BackgroundMetrics
from cdp_router.observing.call_metrics import SECONDS

_LOG = logging.getLogger(__name__)


class GatewayMetrics:
    """Requests by status, one at a time; records a request at a time."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        given = registry or CollectorRegistry()
        self._requests = Counter("cdp_gateway_requests", "Requests answered.", ("status",), registry=given)
        self._seconds = Histogram(
            "cdp_gateway_request_seconds",
            "Time of answers, reading of bodies included.",
            registry=given,
            buckets=SECONDS,
        )
        self._bytes = Counter("cdp_gateway_body_bytes", "Bytes of bodies, as received.", registry=given)
        self._records = Counter(
            "cdp_gateway_records", "Records by dialect and outcome.", ("dialect", "outcome"), registry=given
        )
        self.failed = BackgroundMetrics(given).failed
        self._links_refused = Counter(
            "cdp_gateway_links_refused", "Links between ids that were requested and not made.", registry=given
        )
        self._letters_lost = Counter(
            "cdp_gateway_letters_lost", "Records that were refused and found no room as dead letters.", registry=given
        )
        self._warnings = Counter(
            "cdp_gateway_warnings",
            "Warnings of the cluster on accepted records, by code.",
            ("code",),
            registry=given,
        )
        self._unserved = Counter(
            "cdp_gateway_unserved", "Calls of paths that do not exist, by vendor.", ("vendor",), registry=given
        )

    def took(self, dialect: str, size: int, taken: int, dead: int, unwanted: int) -> None:
        """Counts a request of so many bytes; `unwanted` records asked to be kept nowhere."""
        self._bytes.inc(size)
        for outcome, count in (("taken", taken), ("dead_letter", dead), ("unwanted", unwanted)):
            self._records.labels(dialect, outcome).inc(count)

    def unserved(self, vendor: str) -> None:
        """Counts a call of a path that does not exist; `vendor` is one of a list, or unknown."""
        self._unserved.labels(vendor).inc()

    def refused_links(self, count: int) -> None:
        """Counts links between ids that were requested and not made."""
        self._links_refused.inc(count)

    def lost_letters(self, count: int) -> None:
        """Counts records that were refused after others of their requests were accepted, and could not be kept."""
        self._letters_lost.inc(count)

    def warned(self, code: str, count: int) -> None:
        """Counts warnings of the cluster on records that it accepted."""
        self._warnings.labels(code).inc(count)

    def warnings_omitted(self, count: int) -> None:
        """Counts warnings that the cluster did not report one by one: their codes are not known."""
        self.warned("MORE", count)

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)


class MeasuredApp:
    """An application whose answers are counted."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves, and notes the status and the time to the first byte."""
        begun = time.perf_counter()

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, send_noted)


def serve_metrics(registry: CollectorRegistry, address: tuple[str, int] | None) -> Callable[[], None]:
    """Serves metrics at (host, port), if anywhere, until the returned function is called; OSError if impossible."""
    if address is None:
        return lambda: None
    host, port = address
    server, thread = start_http_server(port, host, registry)
    _LOG.info("metrics at http://%s:%d/metrics", host, server.server_port)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
