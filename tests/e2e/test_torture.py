"""A few kills of real processes, another seed each time; the long version is `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture import Torture

_KILLS = 2


@pytest.mark.long
def test_rows_01_12_15_kills_at_random_times_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    try:
        found = Torture(tmp_path, seed, restores=False).run(lambda kills: kills < _KILLS)
    except Exception as error:
        raise AssertionError(f"run it again with: python -m tests.torture --seed {seed}") from error
    for figures in found:
        assert figures.acked > 0, seed
        assert (figures.missing, figures.doubled) == (0, 0), seed
