"""One cluster for all tests of a run that do not harm it; each test uses names of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster import running_cluster
from cdp_router.client import Client
from tests.e2e.processes import Write, cdp


@pytest.fixture(scope="session")
def cluster_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared cluster keeps its data; with a space in its name."""
    return tmp_path_factory.mktemp("a cluster") / "data"


@pytest.fixture(scope="session")
def address(cluster_data: Path) -> Iterator[str]:
    """Address of the router of the shared cluster: two shards, metrics on free ports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDP_METRICS", "127.0.0.1:0")
        with running_cluster(cluster_data, 2, warm=False) as found:
            yield found


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    """A client of the shared cluster."""
    with Client(address) as found:
        yield found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


@pytest.fixture(scope="session")
def people(address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four people in the shared cluster, loaded with `cdp import`; the address."""
    folder = tmp_path_factory.mktemp("people")
    events = [
        {"user_id": f"cli-{who}", "event": "cli.seen", "time": f"2024-03-0{day}T23:30:00Z", "properties": {"n": day}}
        for who, day in (("ann", 1), ("ann", 2), ("ann", 3), ("bob", 1), ("cy", 3))
    ]
    attributes = [
        {
            "user_id": "cli-ann",
            "time": "2024-03-01",
            "attributes": {"cli_plan": "gold", "cli_note": "[/red] 100% [bold]"},
        },
        {"user_id": "cli-bob", "time": "2024-03-01", "attributes": {"cli_plan": "[/x]"}},
        {"user_id": "cli-cy", "time": "2024-03-01", "attributes": {"cli_tags": ["a", "b"]}},
        {"anonymous_id": "cli-anon", "time": "2024-03-01", "attributes": {"cli_plan": "gold"}},
    ]
    path = folder / "people.ndjson"
    path.write_text("\n".join(map(json.dumps, [*events, *attributes])))
    done = cdp("import", path, "--address", address)
    assert "9 records taken, 0 known already, 0 rejected" in done.stdout
    return address
