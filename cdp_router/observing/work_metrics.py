"""Counts of a router: records accepted, questions answered."""

from __future__ import annotations

from typing import Final

from cdp.v1 import ingest_pb2, query_pb2
from prometheus_client import CollectorRegistry, Counter, Histogram

from cdp_router.identity.identifier_limits import LINK_REFUSED
from cdp_router.ingest.violation_counts import Counts
from cdp_router.observing.call_metrics import SECONDS

_OUTCOMES: Final = ("accepted", "duplicate", "rejected", "quarantined")


class IngestMetrics:
    """Batches and their records, a batch at a time."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        given = registry or CollectorRegistry()
        self._batches = Counter("cdp_ingest_batches", "Batches answered.", ("encoding",), registry=given)
        self._bytes = Counter("cdp_ingest_bytes", "Bytes of batches answered.", registry=given)
        records = Counter("cdp_ingest_records", "Records by outcome.", ("outcome",), registry=given)
        self._records = {outcome: records.labels(outcome) for outcome in _OUTCOMES}
        what = "Records whose identifiers were not linked, because too many belong to one person."
        self._links_refused = Counter("cdp_ingest_links_refused", what, registry=given)
        labels = ("event", "property", "rule", "mode")
        self._violations = Counter("cdp_schema_violations", "Records that broke a rule.", labels, registry=given)

    def took(self, batch: ingest_pb2.Batch, result: ingest_pb2.BatchResult) -> None:
        """Counts an answered batch."""
        self._batches.labels(batch.WhichOneof("records")).inc()
        self._bytes.inc(batch.ByteSize())
        counts = (result.accepted, result.duplicates, len(result.errors), result.quarantined)
        for outcome, count in zip(_OUTCOMES, counts, strict=True):
            self._records[outcome].inc(count)
        self._links_refused.inc(sum(warning.code == LINK_REFUSED for warning in result.warnings))

    def violated(self, counts: Counts) -> None:
        """Counts violations of rules, (event, property, violation) by mode."""
        for (rule, mode), count in counts.items():
            self._violations.labels(*rule, mode.name.lower()).inc(count)


class QueryMetrics:
    """Questions and their cost."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        given = registry or CollectorRegistry()
        self._engine = Histogram(
            "cdp_query_engine_seconds", "Time of the slowest shard's engine.", registry=given, buckets=SECONDS
        )
        self._events = Counter("cdp_query_scanned_events", "Events that questions read.", registry=given)
        self._bytes = Counter("cdp_query_scanned_bytes", "Bytes that questions read.", registry=given)
        self._partial = Counter("cdp_query_partial", "Answers with partitions missing.", registry=given)
        self._slow = Counter("cdp_query_slow", "Answers that took longer than the mark of the log.", registry=given)

    def answered(self, response: query_pb2.QueryResponse, *, slow: bool) -> None:
        """Counts an answered question."""
        self._engine.observe(response.engine_milliseconds / 1000)
        self._events.inc(response.events_scanned)
        self._bytes.inc(response.bytes_scanned)
        if "PARTIAL" in response.flags:
            self._partial.inc()
        if slow:
            self._slow.inc()
