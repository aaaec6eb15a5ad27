"""Sizes of a shard's partitions, read on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cdp_store.partition.readings import PartitionStatus


class PartitionMetrics(Collector):
    """A collector of partition sizes."""

    def __init__(self, read: Callable[[], Iterable[PartitionStatus]]) -> None:
        self._read = read

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without values."""
        return self._families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families with current sizes."""
        profiles, events, unsealed, sequence, memory = families = self._families()
        for status in self._read():
            partition = str(status.partition)
            profiles.add_metric([partition], status.profiles)
            events.add_metric([partition], status.events)
            unsealed.add_metric([partition], status.unsealed)
            sequence.add_metric([partition], status.sequence)
            for structure, size in status.memory.items():
                memory.add_metric([partition, structure], size)
        return families

    @staticmethod
    def _families() -> list[GaugeMetricFamily]:
        labels = ["partition"]
        return [
            GaugeMetricFamily("cdp_partition_profiles", "Profiles.", labels=labels),
            GaugeMetricFamily("cdp_partition_events", "Events.", labels=labels),
            GaugeMetricFamily("cdp_partition_unsealed", "Events and changes not sealed yet.", labels=labels),
            GaugeMetricFamily("cdp_partition_log_sequence", "Position in the log.", labels=labels),
            GaugeMetricFamily("cdp_partition_memory_bytes", "Memory by structure.", labels=[*labels, "structure"]),
        ]
