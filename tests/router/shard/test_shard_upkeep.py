"""What a shard does by itself ends with the shard: nothing is begun on a thread that has gone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from cdp_router.background import Background
from cdp_router.shard import upkeep as shard_upkeep
from cdp_router.shard.server import ShardServer
from cdp_router.shard.upkeep import Upkeep
from tests.router.local_cluster import open_store


def test_what_is_asked_for_while_a_shard_ends_is_not_begun(tmp_path: Path) -> None:
    async def test() -> None:
        failed = list[str]()
        background = Background(failed.append)
        server = ShardServer(open_store(tmp_path), lambda error: None)
        upkeep = Upkeep(server._store, server.commits, server._clock, background)
        upkeep.stop()
        upkeep.maintain_soon()  # the last batch is committed after that
        assert upkeep._settling is None
        await upkeep.close()
        upkeep.maintain_soon()
        upkeep._purge_again()
        await background.close()
        assert not failed
        await server.close()

    asyncio.run(test())


def test_maintenance_that_fails_while_a_shard_ends_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        failed, begun, may_fail = list[str](), threading.Event(), threading.Event()
        background = Background(failed.append)
        server = ShardServer(open_store(tmp_path), lambda error: None)

        def break_down(_: object) -> bool:
            begun.set()
            may_fail.wait(60)
            raise KeyError("a defect")

        monkeypatch.setattr(type(server._store), "maintain", break_down)
        monkeypatch.setattr(shard_upkeep, "PAUSE_SECONDS", 0)
        upkeep = Upkeep(server._store, server.commits, server._clock, background)
        upkeep.maintain_soon()
        await asyncio.to_thread(begun.wait, 60)
        closing = asyncio.ensure_future(upkeep.close())
        await asyncio.sleep(0)
        may_fail.set()
        await closing
        await asyncio.sleep(0)
        await background.close()
        assert failed == ["maintenance"] and upkeep._purging is None
        monkeypatch.undo()
        await server.close()

    asyncio.run(test())
