"""A few lives of the simulated cluster, each run anew with other seeds; the long version is `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.cluster_simulation import run

_LIVES = 3


def test_a_cluster_on_a_bad_network_keeps_every_promise_while_partitions_move(tmp_path: Path) -> None:
    first = random.SystemRandom().randrange(1 << 32)
    for seed in range(first, first + _LIVES):
        try:
            run(seed, tmp_path)
        except Exception as error:
            raise AssertionError(f"run it again with: python -m tests.cluster_simulation --seed {seed}") from error
