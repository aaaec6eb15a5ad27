"""What a partition reports is what the process holds for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_report_is_within_a_twentieth_of_what_the_process_grew_by() -> None:
    command = [sys.executable, "-m", "tests.store.memory_workload"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    reported = sum(found["reported"].values())
    assert reported > 15_000_000, "too little to compare"
    assert abs(found["grown"] - reported) <= reported / 20, found
