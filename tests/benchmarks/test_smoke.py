"""The yardstick at smoke size: our engine, the plain-Python one and DuckDB give equal answers to every query."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine_rates import kernel_rows, load, question_rows
from benchmarks.engines import answers
from benchmarks.generate import generate
from benchmarks.queries import QUERIES
from benchmarks.results import OURS, save
from benchmarks.run import run
from benchmarks.scales import DEFAULT_SEED, SCALES


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the data set is kept; the first test that needs it makes it."""
    return tmp_path_factory.mktemp("cache")


def test_all_engines_agree_on_every_query(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_WARM", "0")  # nobody reads the times of so few events,
    monkeypatch.setattr("benchmarks.measure.RUNS_PER_ROUND", 1)  # so each is taken once
    result = run(SCALES["smoke"], DEFAULT_SEED, [OURS, "naive", "duckdb"], 1, cache, queries_only=True)
    assert set(result.queries) == set(QUERIES)
    for name, query in result.queries.items():
        assert query.equal, name
        assert (query.ours_ms is not None) == answers(OURS, name), name
    path = tmp_path / "smoke.json"
    save(result, path)
    assert result.date in path.read_text()


def test_the_engine_alone_is_measured_on_every_query(cache: Path) -> None:
    view = load(generate(SCALES["smoke"], DEFAULT_SEED, cache)).capture()
    rows = {row.name: row for row in (*question_rows(view, 1), *kernel_rows(view))}
    assert set(QUERIES) < set(rows)
    assert all(row.seconds > 0 and row.kernel_seconds > 0 and row.read > 0 for row in rows.values())
    assert rows["alltime_count"].events > 0 and rows["attr_filter"].events == 0
