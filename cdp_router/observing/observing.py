"""All reports of one process about itself, built by its settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from cdp_router.errors import RequestInvalid
from cdp_router.observing.access_log import AccessLog
from cdp_router.observing.background_metrics import BackgroundMetrics
from cdp_router.observing.call_metrics import CallMetrics
from cdp_router.observing.durability_metrics import Kept, KeptMetrics, MeasuredFiles
from cdp_router.observing.partition_metrics import PartitionMetrics
from cdp_router.observing.settings import PORT_MAX, TRACES, Settings
from cdp_router.observing.slow_queries import AnsweredQueries
from cdp_router.observing.work_metrics import IngestMetrics, QueryMetrics
from cdp_router.rpc.chain import Observer
from cdp_store.outside.seams import Clock, Files
from cdp_store.partition.readings import PartitionStatus

if TYPE_CHECKING:
    from cdp_router.observing.traces import Traces

_LOG = logging.getLogger(__name__)


class Observing:
    """Observers for the chain, and the metrics that services update directly."""

    def __init__(self, role: str, settings: Settings, metrics: tuple[str, int] | None) -> None:
        self._registry, self._address = CollectorRegistry(), metrics
        self._stop_serving: Callable[[], None] = lambda: None
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self.background = BackgroundMetrics(self._registry)
        self.ingest = IngestMetrics(self._registry)
        self.queries = AnsweredQueries(QueryMetrics(self._registry), settings.slow_query_ms)
        self._traces = _traces(role) if settings.traces else None
        observers: tuple[Observer, ...] = (CallMetrics(self._registry), AccessLog(every=settings.access_log))
        # Spans come last: the others must not depend on an exporter.
        self.observers = observers if self._traces is None else (*observers, self._traces)

    def watch_partitions(self, read: Callable[[], Iterable[PartitionStatus]]) -> None:
        """Adds the sizes of partitions to the metrics."""
        self._registry.register(PartitionMetrics(read))

    def watch_files(self, read: Callable[[], Kept], clock: Clock) -> None:
        """Adds the sizes and ages of a shard's files to the metrics."""
        self._registry.register(KeptMetrics(read, clock))

    def files(self) -> Files:
        """Files of the operating system, whose log is measured."""
        return MeasuredFiles(self._registry)

    def start(self) -> None:
        """Serves the metrics, if they are wanted; OSError if the port is in use."""
        if self._address is None:
            return
        host, port = self._address
        if port > PORT_MAX:
            raise RequestInvalid("CDP_METRICS", f"leaves no port for all shards below {PORT_MAX}")
        server, thread = start_http_server(port, host, self._registry)
        _LOG.info("metrics at http://%s:%d/metrics", host, server.server_port)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._stop_serving = stop

    def close(self) -> None:
        """Stops serving metrics and sends the spans that wait."""
        self._stop_serving()
        if self._traces is not None:
            self._traces.close()


def _traces(role: str) -> Traces:
    try:
        from cdp_router.observing.traces import configured
    except ImportError as error:
        raise RequestInvalid(TRACES[0], "is set, but traces need more: in a clone, pip install '.[traces]'") from error
    return configured(role)
