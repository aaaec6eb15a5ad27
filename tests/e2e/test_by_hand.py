"""Shards and routers started one by one on several addresses, as on several machines: no supervisor, a static map."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cdp_router.client import Client
from tests.e2e.processes import ENVIRONMENT, cdp, cdp_process, eventually
from tests.router.encodings import Sent, protobuf_batch

PEOPLE, NOW_MS = 30, 1_767_225_600_000


@contextmanager
def _running(what: str, host: str, data: Path, *options: object) -> Iterator[str]:
    """A process of `cdp shard` or `cdp router`, at the address it has once it is ready."""
    command = [sys.executable, "-m", "cdp_router", what, "--data", str(data), "--address", f"{host}:0"]
    process = subprocess.Popen(
        [*command, *map(str, options)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            assert said["event"] != "failed", said
            if said["event"] == "ready":
                yield f"{host}:{said['port']}"
                break
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


@pytest.mark.long
def test_a_cluster_on_several_addresses(tmp_path: Path) -> None:
    machines = [tmp_path / name for name in ("one", "two", "three")]
    assert "cluster.json" in cdp("init", "--shards", 2, "--partitions", 4, "--data", machines[0]).stdout
    for machine in machines[1:]:
        machine.mkdir()
        shutil.copy(machines[0] / "cluster.json", machine)
    refused = cdp_process("router", "--data", machines[2], "--address", "127.0.0.4:0", code=2).stderr
    assert "addresses.json is missing" in refused
    with ExitStack() as stack:
        first = stack.enter_context(_running("shard", "127.0.0.2", machines[0], "--number", 0))
        second = stack.enter_context(_running("shard", "127.0.0.3", machines[1], "--number", 1))
        where = machines[2] / "addresses.json"
        where.write_text(json.dumps({"0": first, "1": second}))
        routers = [stack.enter_context(_running("router", host, machines[2])) for host in ("127.0.0.4", "127.0.0.5")]
        with Client(routers[0]) as one, Client(routers[1]) as other:
            one.ingest(protobuf_batch([Sent("View", f"u{n}", NOW_MS, {"n": n}) for n in range(PEOPLE)]))
            cdp("segment", "create", "viewers", 'did("View")', "--address", routers[0])
            assert "30 of 30" in cdp("query", 'in_segment("viewers")', "--address", routers[1]).stdout
            third = stack.enter_context(_running("shard", "127.0.0.6", machines[2], "--number", 2))
            where.write_text(json.dumps({"0": first, "1": second, "2": third}))
            eventually(lambda: len(other.status().shards) == len(one.status().shards) == 3)
            cdp("move", 1, "--to", 2, "--address", routers[1])
            assert {each.partition: each.shard for each in one.placements().placements} == {0: 0, 1: 2, 2: 0, 3: 1}
            assert "30 of 30" in cdp("query", 'in_segment("viewers")', "--address", routers[0]).stdout


def test_what_others_could_reach_needs_to_be_asked_for(tmp_path: Path) -> None:
    cdp("init", "--shards", 1, "--data", tmp_path)
    for what in (["shard", "--number", 0], ["router"]):
        said = cdp_process(*what, "--data", tmp_path, "--address", "192.0.2.1:7400", code=2).stderr
        assert "--insecure" in said
    assert "exists already" in cdp("init", "--shards", 1, "--data", tmp_path, code=1).stderr
    assert "holds no cluster.json" in cdp_process("router", "--data", tmp_path / "none", code=2).stderr
