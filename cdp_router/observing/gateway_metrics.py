"""Counts of what a gateway did: requests answered, records taken or kept aside."""

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
        self._bytes = Counter("cdp_gateway_body_bytes", "Bytes of bodies, as they came.", registry=given)
        self._records = Counter(
            "cdp_gateway_records", "Records by dialect and what became of them.", ("dialect", "outcome"), registry=given
        )
        self.failed = BackgroundMetrics(given).failed
        self._links_refused = Counter(
            "cdp_gateway_links_refused", "Links between ids that were asked for and not made.", registry=given
        )
        self._letters_lost = Counter(
            "cdp_gateway_letters_lost", "Records that were refused and found no room as dead letters.", registry=given
        )
        self._warnings = Counter(
            "cdp_gateway_warnings",
            "Warnings of the cluster on records that it took, by code.",
            ("code",),
            registry=given,
        )
        self._unserved = Counter(
            "cdp_gateway_unserved", "Calls of paths that do not exist, by whose they are.", ("vendor",), registry=given
        )

    def took(self, dialect: str, size: int, taken: int, dead: int, unwanted: int) -> None:
        """A request of so many bytes; `unwanted` records asked to be kept nowhere."""
        self._bytes.inc(size)
        for outcome, count in (("taken", taken), ("dead_letter", dead), ("unwanted", unwanted)):
            self._records.labels(dialect, outcome).inc(count)

    def unserved(self, vendor: str) -> None:
        """A path that does not exist was called; `vendor` is one of a list, or unknown."""
        self._unserved.labels(vendor).inc()

    def refused_links(self, count: int) -> None:
        """Links between ids that were asked for and not made."""
        self._links_refused.inc(count)

    def lost_letters(self, count: int) -> None:
        """Records were refused after others of their requests were taken, and could not be kept."""
        self._letters_lost.inc(count)

    def warned(self, code: str, count: int) -> None:
        """The cluster warned so often of records that it took."""
        self._warnings.labels(code).inc(count)

    def warnings_omitted(self, count: int) -> None:
        """The cluster counted so many more warnings than it reported: their codes are not known."""
        self.warned("MORE", count)

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)


class MeasuredApp:
    """An application whose answers are counted."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and note the status and how long its first byte took."""
        begun = time.perf_counter()

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, send_noted)


def serve_metrics(registry: CollectorRegistry, address: tuple[str, int] | None) -> Callable[[], None]:
    """Serve metrics at (host, port), if anywhere, until what is returned is called; OSError where that cannot be."""
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
