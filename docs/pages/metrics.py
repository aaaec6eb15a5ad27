"""Families of metrics, from the collectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from cdp_router.observing.background_metrics import BackgroundMetrics
from cdp_router.observing.call_metrics import CallMetrics
from cdp_router.observing.durability_metrics import KeptMetrics, MeasuredFiles
from cdp_router.observing.gateway_metrics import GatewayMetrics
from cdp_router.observing.partition_metrics import PartitionMetrics
from cdp_router.observing.work_metrics import IngestMetrics, QueryMetrics
from cdp_store.outside.seams import SystemClock
from docs.pages.page import Page


def _families() -> Iterator[tuple[str, Any]]:
    """Every family of metrics with who serves it."""
    parts: tuple[tuple[str, Callable[[CollectorRegistry], object]], ...] = (
        ("router, shard, gateway", BackgroundMetrics),
        ("router, shard", CallMetrics),
        ("router", IngestMetrics),
        ("router", QueryMetrics),
        ("shard", MeasuredFiles),
        ("gateway", GatewayMetrics),
    )
    for who, make in parts:
        registry = CollectorRegistry()
        make(registry)
        for collector in dict.fromkeys(registry._collector_to_names):
            labels = getattr(collector, "_labelnames", ())
            yield from ((who, (each, labels)) for each in collector.describe())  # type: ignore[attr-defined]
    kept: tuple[Collector, ...] = (KeptMetrics(_nothing, SystemClock()), PartitionMetrics(_nothing))
    for collector in kept:
        yield from (("shard", (each, each._labelnames)) for each in collector.describe())  # type: ignore[attr-defined]


def _nothing() -> Any:
    raise AssertionError("described, not read")


def metrics() -> str:
    """Every family of metrics."""
    page = Page("Metrics")
    page.say(
        "Prometheus metrics of the processes ([how to have them served](../operations/metrics.md)). Each process also "
        "has the usual `process_*`. No label names a person."
    )
    found = dict[str, tuple[str, ...]]()
    for who, (family, labels) in _families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name not in found:
            found[name] = (f"`{name}`", family.type, ", ".join(labels), who, family.documentation)
    page.table(("metric", "type", "labels", "served by", "meaning"), (found[name] for name in sorted(found)))
    return page.text()
