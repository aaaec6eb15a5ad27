"""Engines in processes of their own, measured in interleaved rounds so that drift of the machine hits all alike."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.answers import Answer, canonical
from benchmarks.dataset import Dataset
from benchmarks.engines import ENGINES, Engine, answers
from benchmarks.processes import environment_set, resident_bytes
from benchmarks.queries import QUERIES
from benchmarks.timings import Inner, Timing

RUNS_PER_ROUND: Final = 3
_CLOSE_SECONDS = 60.0


class EngineFailed(Exception):
    """An engine's process raised; the message is its traceback."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that holds the data set."""

    version: str
    load_seconds: float
    accounted_bytes: int
    """What the engine says its data take."""
    resident_bytes: int
    """How much its processes grew while loading."""


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run."""

    total_ms: float
    inner: Inner | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Timings of one query on one engine: end to end, and inside the engine and its bytes where it tells."""

    total: Timing
    inner: Timing | None
    bytes_touched: int | None


class EngineProcess:
    """An engine in a process of its own, which works only while it is asked to."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, theirs), name=f"engine-{name}")
        with environment_set(ENGINES[name].environment):
            self._process.start()
        theirs.close()

    def load(self, dataset: Dataset) -> Loaded:
        """Load the data set; returns what it took."""
        loaded: Loaded = self._ask("load", dataset.directory)
        return loaded

    def answer(self, query_name: str) -> Answer:
        """The canonical answer to a query; its run also warms the engine."""
        answer: Answer = self._ask("answer", query_name)
        return answer

    def time(self, query_name: str, runs: int) -> list[Run]:
        """Timed runs of a query, one after the other."""
        timed: list[Run] = self._ask("time", query_name, runs)
        return timed

    def close(self) -> None:
        """End the process, by force if it does not end by itself."""
        if self._process.is_alive():
            try:
                self._ask("close")
            except (EngineFailed, EOFError, OSError):
                self._process.terminate()
        self._process.join(_CLOSE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _ask(self, command: str, *arguments: Any) -> Any:
        self._pipe.send((command, arguments))
        try:
            succeeded, value = self._pipe.recv()
        except EOFError as ended:
            raise EngineFailed(f"{self.name} died while it was asked to {command} {arguments}") from ended
        if not succeeded:
            raise EngineFailed(f"{self.name}, {command} {arguments}:\n{value}")
        return value


@contextmanager
def loaded_engines(names: Iterable[str], dataset: Dataset) -> Iterator[dict[str, tuple[EngineProcess, Loaded]]]:
    """Start engines one after the other, each with the data set loaded; all are closed at the end."""
    with ExitStack() as stack:
        engines = {}
        for name in names:
            process = EngineProcess(name)
            stack.callback(process.close)
            engines[name] = process, process.load(dataset)
        yield engines


def measure_rounds(
    engines: Mapping[str, EngineProcess], rounds: int, progress: Callable[[str], None]
) -> dict[str, dict[str, Measured]]:
    """Time every query on every engine in each round, in rotating order: query -> engine -> timings."""
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    names = list(engines)
    for round_number in range(rounds):
        shift = round_number % len(names)
        for query in QUERIES:
            progress(f"round {round_number + 1}/{rounds}: {query}")
            for name in (*names[shift:], *names[:shift]):
                if answers(name, query):
                    runs[query, name] += engines[name].time(query, RUNS_PER_ROUND)
    return {query: {name: _measured(runs[query, name]) for name in names if answers(name, query)} for query in QUERIES}


def _measured(runs: Sequence[Run]) -> Measured:
    total, inner = Timing.of([run.total_ms for run in runs]), [run.inner for run in runs if run.inner is not None]
    if not inner:
        return Measured(total, None, None)
    return Measured(total, Timing.of([each.milliseconds for each in inner]), inner[-1].bytes_touched)


def _serve(name: str, pipe: Connection) -> None:
    """The child's loop: answer commands until told to close."""
    engine: Engine | None = None
    while True:
        command, arguments = pipe.recv()
        try:
            if engine is None:
                engine = ENGINES[name].create()
            value = _COMMANDS[command](engine, *arguments)
        except Exception:
            pipe.send((False, traceback.format_exc()))
        else:
            pipe.send((True, value))
        if command == "close":
            return


def _load(engine: Engine, directory: Path) -> Loaded:
    before, began = resident_bytes(), time.perf_counter()
    engine.load(Dataset(directory))
    took = time.perf_counter() - began
    return Loaded(engine.version, round(took, 3), engine.memory_bytes, max(0, resident_bytes() - before))


def _answer(engine: Engine, query_name: str) -> Answer:
    return canonical(QUERIES[query_name].kind, engine.run(query_name))


def _time(engine: Engine, query_name: str, runs: int) -> list[Run]:
    timed = []
    for _ in range(runs):
        began = time.perf_counter()
        engine.run(query_name)
        timed.append(Run((time.perf_counter() - began) * 1e3, engine.inner))
    return timed


def _close(engine: Engine) -> None:
    engine.close()


_COMMANDS: Final[Mapping[str, Callable[..., Any]]] = {
    "load": _load,
    "answer": _answer,
    "time": _time,
    "close": _close,
}
