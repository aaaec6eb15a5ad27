"""Counts of failures in work of a process that nobody waits for."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class BackgroundMetrics:
    """Failures of work that a process does by itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        what = "Failures of loops and of work that nobody waits for, by name; loops continue after a pause."
        self._failures = Counter("cdp_background_failures", what, ("task",), registry=registry)

    def failed(self, task: str) -> None:
        """Counts a failure."""
        self._failures.labels(task).inc()
