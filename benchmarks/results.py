"""The shape of a run's result, and its file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.timings import Timing

DEFAULT_RESULTS: Final = Path(__file__).parent / "results"
OURS: Final = "ours"

_LIBRARIES = ("numpy", "numba", "pyarrow")


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query: the common answer and each engine's median milliseconds."""

    answer: Any
    equal: bool
    behavioural: bool
    ours_ms: float | None
    """End to end; None in a run without our engine."""
    engine_ms: float | None
    """The part of ours that was spent inside the engine."""
    peers: dict[str, float]
    ratio_to_best: float | None
    """How many times faster ours is than the fastest peer."""
    spread: dict[str, list[float]]
    """p10 and p90 by engine."""
    engine_bytes: int | None = None
    """Bytes of columns that our engine touched."""

    @property
    def engine_gb_per_second(self) -> float | None:
        """Bytes touched over the time inside our engine."""
        return self.engine_bytes / self.engine_ms / 1e6 if self.engine_bytes and self.engine_ms else None

    def timing(self, engine: str) -> Timing | None:
        """An engine's timing, None where it was not measured."""
        median = self.ours_ms if engine == OURS else self.peers.get(engine)
        return None if median is None else Timing(median, *self.spread[engine])


@dataclass(frozen=True, slots=True)
class RunResult:
    """All that one run found out; medians, milliseconds, events per second, bytes, GB/s."""

    scale: str
    seed: int
    profile_count: int
    event_count: int
    rounds: int
    date: str
    versions: dict[str, str]
    machine: dict[str, Any]
    queries: dict[str, QueryResult]
    geomean_behavioural: float | None
    ingest: dict[str, Any] = field(default_factory=dict)
    mixed: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    overhead: dict[str, Any] = field(default_factory=dict)
    concurrency: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    roofline: dict[str, Any] = field(default_factory=dict)

    @property
    def engines(self) -> list[str]:
        """Every measured engine, ours first."""
        first = next(iter(self.queries.values()))
        return [*([OURS] if first.ours_ms is not None else []), *first.peers]


def save(result: RunResult, path: Path) -> None:
    """Write a result as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(result), indent=1) + "\n")
    partial.replace(path)


def read(path: Path) -> RunResult:
    """Read a result that `save` wrote."""
    content = json.loads(path.read_text())
    content["queries"] = {name: QueryResult(**query) for name, query in content["queries"].items()}
    return RunResult(**content)


def machine() -> dict[str, Any]:
    """What the run was made on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
    }


def versions(engines: Mapping[str, str]) -> dict[str, str]:
    """Versions of the engines, of Python and of the libraries underneath."""
    return {**engines, "python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def today() -> str:
    """The date of the run, UTC."""
    return datetime.now(UTC).date().isoformat()


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
