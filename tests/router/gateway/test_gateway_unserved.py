"""Paths that do not exist: told with whose they are, counted, and logged once in a while, without what names people."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cdp_router.gateway.dialects.unserved import UNKNOWN, vendor_of
from cdp_router.gateway.notices import Notices
from cdp_router.observing.gateway_metrics import GatewayMetrics
from tests.router.gateway_cluster import gateway_cluster


def test_a_library_without_a_route_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    with caplog.at_level(logging.WARNING), gateway_cluster(tmp_path, metrics=GatewayMetrics(registry)) as gateway:
        for _ in range(3):
            answer = gateway.post("/track?ip=1", [{"event": "Open"}])
            assert answer.status_code == 404 and answer.json()["code"] == "not_found"
            assert "Mixpanel" in answer.json()["message"] and "/v1/batch" in answer.json()["message"]
        assert gateway.http.put(f"{gateway.url}/api/v1/customers/ann%40x.org").status_code == 404
        assert gateway.post("/wrong/place/ann").status_code == 404
        assert gateway.http.get(f"{gateway.url}/favicon.ico").status_code == 404

    def count(vendor: str) -> float | None:
        return registry.get_sample_value("cdp_gateway_unserved_total", {"vendor": vendor})

    assert [count(vendor) for vendor in ("Mixpanel", "Customer.io", UNKNOWN)] == [3, 1, 2]
    told = [record.getMessage() for record in caplog.records if "nothing is served" in record.getMessage()]
    assert len(told) == 3
    assert "POST '/track' (Mixpanel?)" in told[0] and "PUT '/api/...'" in told[1] and "POST '/wrong/...';" in told[2]
    assert "ann" not in caplog.text.replace("cannot", "")


@pytest.mark.parametrize(
    ("path", "vendor"),
    [
        ("/2/httpapi", "Amplitude"),
        ("/engage", "Mixpanel"),
        ("/g/collect", "Google Analytics"),
        ("/users/track", "Braze"),
        ("/com.snowplowanalytics.snowplow/tp2", "Snowplow"),
        ("/js/matomo.php", "Matomo"),
        ("/1/profile.json", "CleverTap"),
        ("/v1/nothing", "Segment"),
        ("/", UNKNOWN),
        ("/health/x", UNKNOWN),
        ("/" + "a" * 100_000, UNKNOWN),
        ("/api/" * 10_000, UNKNOWN),
    ],
)
def test_the_vendor_of_a_path(path: str, vendor: str) -> None:
    assert vendor_of(path) == vendor


def test_a_notice_is_due_once_a_minute_and_few_are_remembered() -> None:
    notices = Notices(every_ms=1000, keys_max=2)
    assert [notices.is_due("a", now) for now in (0, 999, 1000, 1500, 2000)] == [True, False, True, False, True]
    assert notices.is_due("b", 2000) and notices.is_due("c", 2000)  # forgets a
    assert notices.is_due("a", 2001) and not notices.is_due("c", 2001)
