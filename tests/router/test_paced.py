"""Purges of memory: soon after an erasure, yet never most of what a shard does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdp_router.paced import Paced
from cdp_router.shard.commits import Commits
from cdp_router.shard.upkeep import Upkeep
from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.outside.seams import OsFiles, SystemClock
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from tests.raw_records import Event, user
from tests.shards import KEY, batch_of


def test_work_takes_its_share_of_the_time_and_runs_without_cost_when_there_is_nothing_to_do() -> None:
    now, lasts, done = [100.0], [3.0], list[float]()

    def work() -> bool:
        done.append(now[0])
        now[0] += lasts[0]
        return lasts[0] > 0

    paced = Paced(work, 0.1, lambda: now[0])
    assert paced.run()
    assert paced.seconds_left == 27
    now[0] = 129.0
    assert not paced.run()
    now[0], lasts[0] = 130.0, 0.0
    assert not paced.run()
    assert paced.seconds_left == 0
    lasts[0] = 1.0
    assert paced.run()
    assert (done, paced.seconds_left) == ([100.0, 130.0, 130.0], 9)


def test_erased_profiles_leave_memory_at_once_or_when_the_pace_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp_router.shard.upkeep._PURGE_SHARE", 1e-9)
    store = Store(tmp_path, ShardIdentity("test", 0, (0,)), KEY, OsFiles())
    store.recover(lambda *_: None)
    store.commit([Delivery(PartitionId(0), batch_of([Event(user(name), "View", 1) for name in "abc"]))])

    async def erased(upkeep: Upkeep, name: str) -> bool:
        """Whether the profile is still in memory when the upkeep after its erasure is done."""
        store.erase(PartitionId(0), [encode_identifier(*user(name))])
        upkeep.maintain_soon()
        assert upkeep._maintaining is not None
        await upkeep._maintaining
        return store.partitions[PartitionId(0)].awaits_purge

    async def test() -> None:
        commits = Commits(store, lambda error: None, lambda: None)
        upkeep = Upkeep(store, commits, SystemClock())
        assert not await erased(upkeep, "a")
        assert upkeep._purging is None
        assert await erased(upkeep, "b")
        assert upkeep._purging is not None, "it is taken up again by itself"
        upkeep._purge._due = 0.0
        assert not await erased(upkeep, "c")
        await upkeep.close()

    asyncio.run(test())
    store.close()
