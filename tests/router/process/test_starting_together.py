"""Shards and routers start together; a router begins when the supervisor says that all shards are ready."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.process.supervised import AFTER_SHARDS, Report
from cdp_router.process.supervisor import Child, ClusterFailed, Supervisor
from tests.router.process.test_full_disk import fill


def router(data: Path) -> subprocess.Popen[str]:
    """A router that waits for the shards of a new cluster."""
    ClusterDirectory(data).load_or_create(1, 2)
    command = [sys.executable, "-m", "cdp_router.process.router", "--data", str(data), AFTER_SHARDS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, "CDP_WARM": "0"}, **pipes)  # type: ignore[call-overload, no-any-return]


def test_a_router_begins_with_the_line_of_its_supervisor(tmp_path: Path) -> None:
    with router(tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write('{"0":"127.0.0.1:1"}\n')
        process.stdin.flush()
        assert msgspec.json.decode(process.stdout.readline(), type=Report).event == "ready"
        process.communicate()
    assert process.returncode == 0


def test_a_router_whose_supervisor_is_gone_before_that_ends_and_says_nothing(tmp_path: Path) -> None:
    with router(tmp_path) as process:
        assert process.communicate() == ("", "")
    assert process.returncode == 0


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """A start of two shards and a router, none of which is run; what happens to them, in order."""

    def run(is_ready: bool) -> list[str]:
        directory, happened = ClusterDirectory(tmp_path), list[str]()
        directory.load_or_create(2, 2)

        async def launch(child: Child, *options: str) -> None:
            happened.append(" ".join((child.name, "launched", *options)))

        async def wait_ready(child: Child, _: object) -> bool:
            await asyncio.sleep(0)
            happened.append(f"{child.name} ready")
            return is_ready

        monkeypatch.setattr(Child, "launch", launch)
        monkeypatch.setattr(Child, "wait_ready", wait_ready)
        monkeypatch.setattr(Child, "say", lambda child, line: happened.append(f"{child.name} told {line}"))
        supervisor = Supervisor(directory, "127.0.0.1", 0, lambda _: None)
        try:
            asyncio.run(supervisor._start())
        except ClusterFailed as error:
            happened.append(str(error).partition(":")[0])
        return happened

    return run


_LAUNCHED = ["shard 0 launched", "shard 1 launched", "router launched --after-shards", "shard 0 ready", "shard 1 ready"]


def test_routers_are_launched_with_the_shards_and_told_when_these_are_ready(
    start: Callable[[bool], list[str]],
) -> None:
    assert start(True) == [*_LAUNCHED, "router told {}", "router ready"]


def test_on_a_full_disk_routers_are_told_where_the_shards_are(
    start: Callable[[bool], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ClusterDirectory(tmp_path).load_or_create(2, 2)
    (tmp_path / "logs").mkdir()
    fill(monkeypatch)
    assert start(True)[-2:] == ['router told {"0":"127.0.0.1:0","1":"127.0.0.1:0"}', "router ready"]


def test_a_shard_that_refuses_ends_the_start_before_routers_are_told(start: Callable[[bool], list[str]]) -> None:
    assert start(False) == [*_LAUNCHED, "shard 0 cannot run"]
