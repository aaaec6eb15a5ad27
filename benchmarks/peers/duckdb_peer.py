"""DuckDB in memory: one table of events sorted by name, user and time."""

from __future__ import annotations

from typing import Any

import duckdb

from benchmarks.answers import AnswerKind
from benchmarks.dataset import Dataset
from benchmarks.engines import THREADS
from benchmarks.peers.duckdb_sql import LOAD, QUERIES
from benchmarks.queries import QUERIES as SUITE
from benchmarks.timings import Inner


class DuckDBPeer:
    """An in-memory DuckDB."""

    name = "duckdb"
    version = duckdb.__version__
    inner: Inner | None = None

    def __init__(self) -> None:
        self.memory_bytes = 0
        self._connection = duckdb.connect(":memory:")
        self._connection.execute(f"SET threads = {THREADS}")

    def load(self, dataset: Dataset) -> None:
        """Fill the tables from Parquet and account for them."""
        paths = {
            "profiles": dataset.profiles,
            "changes": dataset.changes,
            "events": dataset.events / "part-*.parquet",
        }
        for statement in LOAD:
            self._connection.execute(statement.format(**paths))
        used = self._connection.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchone()
        self.memory_bytes = int(used[0]) if used else 0

    def run(self, query_name: str) -> Any:
        """Run the query's SQL and fetch all of its result."""
        kind = SUITE[query_name].kind
        if kind is AnswerKind.IDS:
            return self._connection.sql(QUERIES[query_name]).to_arrow_table().column(0)
        rows = self._connection.execute(QUERIES[query_name]).fetchall()
        if kind is AnswerKind.COUNT:
            return rows[0][0]
        return rows[0] if kind is AnswerKind.FUNNEL else rows

    def close(self) -> None:
        """Drop the database."""
        self._connection.close()
