"""What a client pays for: neither the compiler nor the server."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

_LIST = "import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
# A command's modules are loaded when it is asked for.
_EVERY_COMMAND = "typer, cdp_router.cli.app; list(typer.main.get_command(cdp_router.cli.app.app).commands.values())"
_HEAVY = (
    "numba",
    "llvmlite",
    "cdp_query",
    "lark",
    "cdp_router.shard.server",
    "cdp_router.services",
    "cdp_store.shard.store",
)


@cache
def _loaded(module: str) -> frozenset[str]:
    """Modules a fresh interpreter has loaded after importing one; each is started once for all tests that look."""
    done = subprocess.run(
        [sys.executable, "-c", _LIST.format(module=module)], capture_output=True, text=True, check=True
    )
    return frozenset(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("cdp_router.client", "cdp_router.client"),
        ("cdp_router.client.questions", "cdp_router.client.questions"),
        (_EVERY_COMMAND, "cdp_router.cli.data.import_command"),
    ],
)
def test_neither_compiler_nor_server_is_loaded(code: str, module: str) -> None:
    loaded = _loaded(code)
    assert module in loaded
    assert {name for name in _HEAVY if name in loaded} == set()
    assert not any(
        name.startswith(("cdp_router.process", "grpc_reflection.", "grpc_health.", "uvloop")) for name in loaded
    )


def test_no_command_waits_for_pandas_to_load() -> None:
    """Arrow loads it, where it is installed, for the first value made of a Python object."""
    assert "pandas" not in _loaded(_EVERY_COMMAND)


def test_no_command_waits_for_the_modules_of_others() -> None:
    loaded = _loaded("cdp_router.cli.app")
    assert not any(name.startswith(("pyarrow", "cdp_router.cli.data.", "cdp_router.cli.cluster.")) for name in loaded)


def test_no_command_waits_for_the_gateway_to_load() -> None:
    assert not {"cdp_router.gateway.intake", "prometheus_client"} & _loaded(_EVERY_COMMAND)


def test_a_cluster_is_started_without_loading_the_compiler(tmp_path: Path) -> None:
    start = (
        "import pathlib, sys; from cdp_router.cli.cluster import up_command; from cdp_router.cluster import topology; "
        "from cdp_router.process import supervisor; directory = topology.ClusterDirectory(pathlib.Path(sys.argv[1])); "
        "up_command._opened(directory, 1, 1, salvage=False); print('numba' in sys.modules)"
    )
    command = [sys.executable, "-c", start, str(tmp_path / "data")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_gateway_is_a_client_of_the_cluster() -> None:
    heavy = {"numba", "llvmlite", "lark", "cdp_router.shard.server", "cdp_router.services", "cdp_store.shard.store"}
    assert heavy & _loaded("cdp_router.process.gateway") == set()


def test_the_contract_loads_nothing_of_ours() -> None:
    loaded = _loaded("cdp.v1.query_pb2")
    assert not any(name.startswith(("cdp_store", "cdp_query", "cdp_router")) for name in loaded)


def test_the_server_does_load_what_the_client_must_not() -> None:
    assert {"numba", "cdp_query", "cdp_router.shard.server"} <= _loaded("cdp_router.process.shard")
