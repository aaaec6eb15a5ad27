"""Reading a log's cold columns stretch by stretch, without reading earlier stretches again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdp_store.log.segment_reader import Positions
from cdp_store.snapshot.cold.logged_rows import LoggedRows, LogPlace, logged_rows


class LogReading:
    """Continues in a log where its last reading of the same partitions ended; one reading at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place: LogPlace | None = None
        self._read: Positions = {}

    @contextmanager
    def rows(self, start: Positions, end: Positions) -> Iterator[LoggedRows]:
        """Rows of the log after `start` up to `end`: a ColdReader."""
        goes_on = all(number in self._read and start.get(number, 0) >= self._read[number] for number in end)
        with logged_rows(self._directory, start, end, first=self._place if goes_on else None) as source:
            yield source
        self._place, self._read = source.rest, dict(end)
