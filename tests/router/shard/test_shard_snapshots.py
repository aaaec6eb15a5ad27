"""When a shard takes cold columns out of its log."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from cdp_router.cluster.shard_methods import DELIVER
from cdp_router.shard import snapshots as shard_snapshots
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from cdp_store.errors import StoreFailed
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from tests.router.local_cluster import FixedClock, far_deadline, open_store
from tests.router.shard_client_contract import one, view

_FAR = 1 << 40


def after_a_delivery(
    folder: Path,
    files: FaultyFiles,
    until: Callable[[ShardServer], Coroutine[None, None, None]],
    *,
    is_regular: bool = True,
) -> list[str]:
    """The cold files that a shard has written when it has taken a batch, and was then closed."""

    async def whole() -> None:
        failures = list[StoreFailed]()
        server = ShardServer(open_store(folder, 0, files), failures.append, clock=FixedClock())
        regular = asyncio.create_task(server.snapshots.take_every(_FAR))
        if not is_regular:
            regular.cancel()
        await asyncio.sleep(0)  # it has begun, or has been cancelled before
        response = await LocalShardClient(server).call(DELIVER, one([view("a", message_id="m1")]), far_deadline())
        assert response.outcomes[0].accepted == 1
        await until(server)
        regular.cancel()
        await server.close()
        assert failures == []

    asyncio.run(whole())
    [place] = folder.rglob("snapshots")
    return [path.name for path in place.glob("*cold*")]


async def at_once(server: ShardServer) -> None:
    """Wait for nothing."""


async def when_idle(server: ShardServer) -> None:
    """Wait until nothing has arrived for a while."""
    while server.snapshots._writing_cold is None:
        await asyncio.sleep(0)


def limits(monkeypatch: pytest.MonkeyPatch, busy: int, idle: int) -> None:
    monkeypatch.setattr(shard_snapshots, "COLD_LOG_BYTES", busy)
    monkeypatch.setattr(shard_snapshots, "COLD_LOG_BYTES_IDLE", idle)
    monkeypatch.setattr(shard_snapshots, "_IDLE_SECONDS", 0.0)


def test_when_much_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, busy=1, idle=_FAR)
    assert len(after_a_delivery(tmp_path, FaultyFiles(), at_once)) == 1


def test_when_nothing_arrives_and_less_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, busy=_FAR, idle=1)
    assert len(after_a_delivery(tmp_path, FaultyFiles(), when_idle)) == 1


def test_not_where_snapshots_are_taken_on_demand_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, busy=1, idle=_FAR)
    assert after_a_delivery(tmp_path, FaultyFiles(), at_once, is_regular=False) == []


def test_not_for_a_few_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, busy=_FAR, idle=_FAR)
    assert after_a_delivery(tmp_path, FaultyFiles(), at_once) == []


def test_row_06_a_full_disk_is_told_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits(monkeypatch, busy=1, idle=_FAR)

    class Full(FaultyFiles):
        """Files of a disk without room for another one."""

        def open_append(self, path: Path):  # type: ignore[no-untyped-def]
            if "cold" in path.name:
                self.plan(Fault("open", 1, errno.ENOSPC))
            return super().open_append(path)

    with caplog.at_level(logging.ERROR):
        assert after_a_delivery(tmp_path, Full(), at_once) == []
    [record] = [each for each in caplog.records if each.name == shard_snapshots.__name__]
    assert "wait for the next snapshot" in record.getMessage()
    assert "cold" in record.getMessage()
