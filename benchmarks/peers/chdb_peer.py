"""ClickHouse inside the process (chDB): MergeTree ordered by event, user and time, in a memory file system."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import chdb
import pyarrow as pa
from chdb.session import Session

from benchmarks.answers import AnswerKind
from benchmarks.dataset import Dataset
from benchmarks.engines import THREADS
from benchmarks.peers.chdb_sql import LOAD, QUERIES, READ_SETTINGS
from benchmarks.queries import QUERIES as SUITE
from benchmarks.timings import Inner

_MEMORY_FILES = Path("/dev/shm")


class ChDBPeer:
    """A ClickHouse session whose parts lie in memory where the machine has a memory file system."""

    name = "chdb"
    version = chdb.__version__
    inner: Inner | None = None

    def __init__(self) -> None:
        self.memory_bytes = 0
        base = _MEMORY_FILES if _MEMORY_FILES.is_dir() else None
        self._directory = Path(tempfile.mkdtemp(prefix="bench-chdb-", dir=base))
        self._session = cast(Any, Session(str(self._directory)))  # type: ignore[no-untyped-call]
        self._session.query(f"SET max_threads = {THREADS}, max_insert_threads = {THREADS}")

    def load(self, dataset: Dataset) -> None:
        """Fill the tables from Parquet, merge each into one part, and account for them."""
        paths = {
            "profiles": dataset.profiles.resolve(),
            "changes": dataset.changes.resolve(),
            "events": dataset.events.resolve() / "part-*.parquet",
        }
        for statement in LOAD:
            self._session.query(statement.format(**paths))
        self._session.query(READ_SETTINGS)
        sizes = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench'"
        self.memory_bytes = int(self._rows(sizes)[0][0])

    def run(self, query_name: str) -> Any:
        """Run the query's SQL and decode all of its result."""
        kind = SUITE[query_name].kind
        if kind is AnswerKind.IDS:
            buffer = self._session.query(QUERIES[query_name], "ArrowStream").get_memview()
            return pa.ipc.open_stream(pa.py_buffer(bytes(buffer.tobytes()))).read_all().column(0)
        rows = self._rows(QUERIES[query_name])
        if kind is AnswerKind.COUNT:
            return rows[0][0]
        return rows[0] if kind is AnswerKind.FUNNEL else rows

    def close(self) -> None:
        """Drop the session and its files."""
        self._session.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _rows(self, sql: str) -> list[list[Any]]:
        rows: list[list[Any]] = json.loads(self._session.query(sql, "JSONCompact").data())["data"]
        return rows
