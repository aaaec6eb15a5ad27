"""After warming, nothing a cluster does compiles a kernel: no query is the first to pay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cdp_router.process.warm_up import warm_kernels

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process compiled before and after it was warm."""
    return work(tmp_path_factory.mktemp("cluster"))


def work(*places: Path) -> dict[str, Any]:
    """The report of `tests.router.warmed_workload`."""
    command = [sys.executable, "-m", "tests.router.warmed_workload", *map(str, places)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.long
def test_a_varied_workload_compiles_nothing_after_warming(report: dict[str, Any]) -> None:
    assert report["late"] == {}


@pytest.mark.long
@pytest.mark.usefixtures("report")  # a process that compiles counts kernels that others call as well
def test_nor_after_a_start_that_loaded_the_listed_kernels_only(tmp_path: Path) -> None:
    first, second = (work(tmp_path / folder, tmp_path / "warm") for folder in ("a", "b"))
    assert first["steps"] and not second["steps"]
    assert second["late"] == {}
    assert second["warmed"] == first["warmed"]


@pytest.mark.long
def test_the_workload_is_looked_at_through_the_kernels_there_are(report: dict[str, Any]) -> None:
    assert report["kernels"] > 20
    assert report["warmed"] >= report["kernels"] // 2


def test_progress_is_told_after_every_step_up_to_all() -> None:
    told = list[tuple[int, int]]()
    warm_kernels(lambda done, total: told.append((done, total)))
    totals = {total for _, total in told}
    assert len(totals) == 1
    assert [done for done, _ in told] == list(range(1, totals.pop() + 1))
