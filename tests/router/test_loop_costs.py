"""No request of at most a megabyte may keep the event loop of a gateway, a router or a shard for two seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECONDS_MAX = 2.0  # of CPU time; what is measured stays below half of it, but for lists of very many lists
BYTES_MAX = 1_050_000


@pytest.mark.long
@pytest.mark.parametrize(("which", "least"), [("bodies", 20), ("batches", 25)])
def test_requests_that_stand_for_much_keep_no_event_loop(tmp_path: Path, which: str, least: int) -> None:
    command = [sys.executable, "-m", "tests.router.loop_costs", str(tmp_path), which]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    costs: dict[str, dict[str, Any]] = {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert len(costs) >= least and max(each["bytes"] for each in costs.values()) < BYTES_MAX
    assert {name: each["seconds"] for name, each in costs.items() if each["seconds"] >= SECONDS_MAX} == {}
