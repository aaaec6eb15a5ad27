"""The asynchronous client looks after segments, retention, erasures and snapshots as the other one does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cdp.v1 import admin_pb2, named_segment_pb2

from cdp_router.client import AsyncClient, RequestFailed
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import served_cluster


def test_segments_retention_erasures_and_snapshots(tmp_path: Path) -> None:
    async def run() -> None:
        async with served_cluster(tmp_path / "cluster") as served, AsyncClient(served.address) as client:
            await client.ingest(protobuf_batch([Sent("View", f"u{n}", NOW_MS, {}) for n in range(5)]))
            for text in ('did("View")', 'did("View", last: 7d)'):
                made = await client.create_segment(named_segment_pb2.CreateSegmentRequest(name="seen", text=text))
            assert made.version == (await client.segment("seen")).version == 2
            assert (await client.segment("seen", 1)).text == 'did("View")'
            assert [each.name for each in (await client.segments()).segments] == ["seen"]
            assert await client.count('in_segment("seen")') == 5
            assert list((await client.schema()).events) == ["View"]
            await client.set_retention(admin_pb2.RetentionRule(event="View", days=400))
            assert [(each.event, each.days) for each in (await client.retention()).rules] == [("View", 400)]
            erased = await client.erase(admin_pb2.EraseProfileRequest(user_id="u1"))
            assert erased.erased and await client.count("everyone") == 4
            before = (await client.digest()).digest
            taken = await client.snapshot(str(tmp_path / "copy"))
            assert [shard.number for shard in taken.shards] == [1, 1]
            assert (tmp_path / "copy" / "cluster.json").exists()
            assert (await client.verify()).snapshots == 2
            assert [shard.snapshots_removed for shard in (await client.purge()).shards] == [1, 1]
            assert (await client.digest()).digest == before
            assert await client.delete_segment("seen") == 2
            with pytest.raises(RequestFailed, match="seen"):
                await client.segment("seen")

    asyncio.run(run())
