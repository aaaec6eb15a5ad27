"""Warnings of the cluster on records that it took: counted, logged once in a while, told where an answer has room."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import ingest_pb2
from prometheus_client import CollectorRegistry

from cdp_router.observing.gateway_metrics import GatewayMetrics
from tests.router.gateway_cluster import gateway_cluster

UUID = "0192f3a4-5b6c-7d8e-9f00-{:012d}"


class _Warning:
    """Takes batches as the cluster does, and warns of every record whose event is `doubtful`."""

    def __init__(self, taking: Any) -> None:
        self._taking = taking

    async def ingest(self, batch: ingest_pb2.Batch, deadline: Any) -> ingest_pb2.BatchResult:
        result: ingest_pb2.BatchResult = await self._taking.ingest(batch, deadline)
        if b"doubtful" in batch.msgpack_rows:
            result.warnings.add(index=1, code="IDENTIFIER_LIMIT", message="it has too many identifiers")
            result.warnings_omitted = 3
        return result


def capture(name: str, number: int) -> dict[str, Any]:
    return {"event": name, "distinct_id": "u", "uuid": UUID.format(number), "properties": {}}


def test_warnings_are_counted_by_code_logged_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    with caplog.at_level(logging.WARNING), gateway_cluster(tmp_path, metrics=GatewayMetrics(registry)) as gateway:
        gateway.cluster.taking = _Warning(gateway.cluster.taking)  # type: ignore[assignment]
        body = {"api_key": "web", "batch": [capture("fine", 1), capture("doubtful", 2)]}
        results = gateway.post("/i/v1/analytics/events", body).json()["results"]
        assert results[UUID.format(1)] == {"result": "ok"}
        assert results[UUID.format(2)]["result"] == "warning"
        assert "IDENTIFIER_LIMIT: it has too many identifiers" in results[UUID.format(2)]["details"]
        again = {"api_key": "web", "batch": [capture("fine", 3), capture("doubtful", 4)]}
        assert gateway.post("/batch/", again).json() == {"status": 1}
        segment = [{"type": "track", "userId": "u", "event": name, "messageId": name} for name in ("a", "doubtful")]
        assert gateway.post("/v1/batch", {"batch": segment, "writeKey": "web"}).json() == {"success": True}
        clevertap = [{"identity": "u", "type": "event", "evtName": name, "evtData": {}} for name in ("b", "doubtful")]
        assert gateway.post("/1/upload", {"d": clevertap}).json()["status"] == "success"
        assert gateway.letters() == []
    assert registry.get_sample_value("cdp_gateway_warnings_total", {"code": "IDENTIFIER_LIMIT"}) == 4
    assert registry.get_sample_value("cdp_gateway_warnings_total", {"code": "MORE"}) == 12
    told = [line for line in caplog.messages if "accepted with warnings" in line]
    assert len(told) <= 2 and "IDENTIFIER_LIMIT" in told[0]
