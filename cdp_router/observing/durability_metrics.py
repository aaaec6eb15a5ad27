"""Metrics of a shard's durability: syncs of its log, and the age and size of its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cdp_store.log.format import SEGMENT_SUFFIX
from cdp_store.outside.seams import AppendFile, Clock, Files, OsFiles, UpdateFile
from cdp_store.snapshot.manifest import Manifest

_SYNC_SECONDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """Sizes and ages of a shard's files at this moment."""

    log_bytes: int
    newest: Manifest | None


class KeptMetrics(Collector):
    """A collector of the sizes and ages of files, read on request."""

    def __init__(self, read: Callable[[], Kept], clock: Clock) -> None:
        self._read, self._clock = read, clock

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without values."""
        return self._families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families with current values; those of the snapshot are empty while there is none."""
        log, age, size, number = families = self._families()
        kept = self._read()
        log.add_metric([], kept.log_bytes)
        if kept.newest is not None:
            age.add_metric([], max(self._clock.now_ms() - kept.newest.taken_ms, 0) / 1000)
            size.add_metric([], sum(each.bytes for each in kept.newest.files.values()))
            number.add_metric([], kept.newest.number)
        return families

    @staticmethod
    def _families() -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily("cdp_log_bytes", "Bytes of the log's files."),
            GaugeMetricFamily("cdp_snapshot_age_seconds", "Time since the newest snapshot was begun."),
            GaugeMetricFamily("cdp_snapshot_bytes", "Bytes of the files of the newest snapshot."),
            GaugeMetricFamily("cdp_snapshot_number", "Number of the newest snapshot."),
        ]


class MeasuredFiles:
    """Files of the operating system; counts the bytes written to the log and measures its syncs."""

    def __init__(self, registry: CollectorRegistry | None = None, files: Files | None = None) -> None:
        given = registry or CollectorRegistry()
        self._files = files or OsFiles()
        self.syncs = Histogram(
            "cdp_log_sync_seconds",
            "Time of a sync of the log; each makes a group of batches durable.",
            registry=given,
            buckets=_SYNC_SECONDS,
        )
        self.written = Counter("cdp_log_written_bytes", "Bytes written to the log.", registry=given)

    def open_append(self, path: Path) -> AppendFile:
        file = self._files.open_append(path)
        return _MeasuredFile(self, file) if path.suffix == SEGMENT_SUFFIX else file

    def open_update(self, path: Path) -> UpdateFile:
        return self._files.open_update(path)

    def allocate(self, path: Path, size: int) -> None:
        self._files.allocate(path, size)

    def remove(self, path: Path) -> None:
        self._files.remove(path)

    def rename(self, source: Path, target: Path) -> None:
        self._files.rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._files.sync_directory(path)


class _MeasuredFile:
    def __init__(self, measured: MeasuredFiles, file: AppendFile) -> None:
        self._measured, self._file = measured, file

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._measured.written.inc(len(data))

    def sync(self) -> None:
        started = time.perf_counter()
        self._file.sync()
        self._measured.syncs.observe(time.perf_counter() - started)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()
