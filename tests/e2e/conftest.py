"""One cluster for all tests of a run that do not harm it; each test uses names of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster import running_cluster
from cdp_router.client import Client


@pytest.fixture(scope="session")
def cluster_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared cluster keeps its data; with a space in its name."""
    return tmp_path_factory.mktemp("a cluster") / "data"


@pytest.fixture(scope="session")
def address(cluster_data: Path) -> Iterator[str]:
    """Address of the router of the shared cluster: two shards, metrics on free ports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDP_METRICS", "127.0.0.1:0")
        with running_cluster(cluster_data, 2) as found:
            yield found


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    """A client of the shared cluster."""
    with Client(address) as found:
        yield found
