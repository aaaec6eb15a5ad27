"""The small interface behind which every measured engine stands, and the registry of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol

from benchmarks.dataset import Dataset
from benchmarks.timings import Inner

THREADS: Final = 2


class Engine(Protocol):
    """Holds one data set in memory and answers the suite's queries by name."""

    name: str
    version: str
    memory_bytes: int
    """Bytes of the data as the engine accounts for them, valid after load; 0 where it cannot tell."""
    inner: Inner | None
    """What the last run took and touched inside the engine where that is known apart from the round trip, else None."""

    def load(self, dataset: Dataset) -> None:
        """Bring the data set into memory in the engine's best form."""

    def run(self, query_name: str) -> Any:
        """The answer to a query of `queries.QUERIES`, in any form that `answers.canonical` understands."""

    def close(self) -> None:
        """Release memory, processes and temporary files."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """Where an engine's class is, so that only the process that runs it imports it, and what it needs set before."""

    module: str
    class_name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    is_peer: bool = True

    def create(self) -> Engine:
        """Import the engine's module and make an empty engine."""
        engine: Engine = getattr(import_module(self.module), self.class_name)()
        return engine


ENGINES: Final[Mapping[str, EngineEntry]] = {
    "duckdb": EngineEntry("benchmarks.peers.duckdb_peer", "DuckDBPeer"),
    "chdb": EngineEntry("benchmarks.peers.chdb_peer", "ChDBPeer"),
    "polars": EngineEntry("benchmarks.peers.polars_peer", "PolarsPeer", {"POLARS_MAX_THREADS": str(THREADS)}),
    "ours": EngineEntry("benchmarks.ours", "OurEngine", is_peer=False),
    "naive": EngineEntry("benchmarks.naive", "NaiveEngine", is_peer=False),
}
"""Engines by the name that `--engines` takes; `ours` is measured against all that are peers."""

UNANSWERED: Final[Mapping[str, frozenset[str]]] = {
    "ours": frozenset(),
}
"""Queries whose form an engine does not have yet; they are reported as not answered."""


def answers(engine: str, query: str) -> bool:
    """Whether an engine can answer a query at all."""
    return query not in UNANSWERED.get(engine, frozenset())
