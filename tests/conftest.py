"""Settings of the property tests, and which tests share a process; everything else stands beside what uses it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Kernels compile on first use, so time says nothing about a single example.
settings.register_profile(
    "ci", deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

# Each of the many small objects that tests make would be looked at several times, for cycles that hardly any form part
# of: the search takes a twentieth of the processor as it is set at first.
gc.set_threshold(20_000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives `--dist loadfile` one more rule: what shares the cluster of tests/e2e runs in one process."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):
        """A file for each process in turn, but all of tests/e2e for one: a second cluster costs a dozen seconds."""

        def _split_scope(self, nodeid: str) -> str:
            folder = "tests/e2e/"
            return folder if nodeid.startswith(folder) else super()._split_scope(nodeid)

    return OneCluster(config, log)
