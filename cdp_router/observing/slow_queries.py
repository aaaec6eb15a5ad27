"""Slow questions, by the hash of their plan: the text of a question may hold data of people."""

from __future__ import annotations

import logging

from cdp.v1 import query_pb2

from cdp_router.observing.work_metrics import QueryMetrics

_LOG = logging.getLogger("cdp.slow_query")


class AnsweredQueries:
    """Counts every answer, and logs the slow ones."""

    def __init__(self, metrics: QueryMetrics, slow_ms: float) -> None:
        self._metrics, self._slow_ms = metrics, slow_ms

    def answered(self, response: query_pb2.QueryResponse) -> None:
        """Counts an answered question."""
        slow = response.milliseconds >= self._slow_ms
        self._metrics.answered(response, slow=slow)
        if slow:
            extra = {
                "plan_hash": response.plan_hash,
                "milliseconds": round(response.milliseconds, 3),
                "engine_milliseconds": round(response.engine_milliseconds, 3),
                "events_scanned": response.events_scanned,
                "rows_scanned": response.rows_scanned,
                "bytes_scanned": response.bytes_scanned,
                "partitions": len(response.coverage.answered),
            }
            _LOG.warning("slow query", extra=extra)
