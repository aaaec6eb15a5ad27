"""Replay of logged records: a record that cannot be replayed is named, and never skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cdp_store.errors import BatchMalformed, LogCorrupt, RecordMisplaced, RecordNotReplayed, StoreError
from cdp_store.log.format import LogRecord, RecordKind
from cdp_store.log.segment_reader import Positions, read_located

Take = Callable[[LogRecord], None]


def hand_over(take: Take, path: Path, offset: int, record: LogRecord) -> None:
    """Replays an intact record; raises LogCorrupt, or RecordNotReplayed of it, where that fails."""
    try:
        with _Replayed(path, offset, record):
            take(record)
    except BatchMalformed as error:
        raise LogCorrupt(path, offset, f"its record is intact, but holds no batch: {error.reason}") from error
    except RecordMisplaced as error:
        raise LogCorrupt(path, offset, f"its record is intact, but {error}") from error


def replay_records(directory: Path, start: Positions, progress: Callable[[int, int], None], take: Take) -> None:
    """Hands every record of a log after `start` to `take`, oldest first; changes nothing, and a torn tail ends it.

    `progress(done, total)` receives bytes.
    """
    for path, offset, record in read_located(directory, start, progress):
        hand_over(take, path, offset, record)


@dataclass(frozen=True, slots=True)
class _Replayed:
    """A block that replays a record: names that record in an error of the program.

    Failures of files and memory are no property of the record: another start may well succeed.
    """

    path: Path
    offset: int
    record: LogRecord

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, StoreError | OSError | MemoryError):
            kind, problem = RecordKind(self.record.kind).name, f"{type(error).__name__}: {error}"
            where = self.record.partition, self.record.sequence
            raise RecordNotReplayed(self.path, self.offset, kind, *where, problem) from error
