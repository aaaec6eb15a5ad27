"""A few crash schedules of the simulation, each run anew with other seeds; the long version is `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.simulation import run

_SCHEDULES = 20


def test_rows_01_02_07_09_11_12_24_crash_schedules_keep_every_promise(tmp_path: Path) -> None:
    first = random.SystemRandom().randrange(1 << 32)
    for seed in range(first, first + _SCHEDULES):
        try:
            run(seed, tmp_path)
        except Exception as error:
            raise AssertionError(f"run it again with: python -m tests.simulation --seed {seed}") from error
