"""A shard near its memory budget refuses data with a delay to retry after, and goes on answering."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.rpc import code_pb2

from cdp_router.errors import Overloaded
from cdp_router.memory_budget import MemoryBudget, default_bytes, machine_bytes, resident_bytes
from cdp_router.shard_client import LocalShardClient
from cdp_router.shard_server import ShardServer
from cdp_router.status import describe, retry_delay_ms
from cdp_store.limits import MIB
from tests.router.local_cluster import far_deadline, open_store
from tests.router.shard_client_contract import count, one, view


def test_row_21_ingest_is_refused_before_memory_ends_and_queries_go_on(tmp_path: Path) -> None:
    held = 80 * MIB

    async def run() -> None:
        server = ShardServer(open_store(tmp_path), lambda error: None, budget=MemoryBudget(100 * MIB, lambda: held))
        client = LocalShardClient(server)
        nonlocal held
        await client.deliver(one([view("a")], b"b1"), far_deadline())
        held = 91 * MIB
        with pytest.raises(Overloaded) as caught:
            await client.deliver(one([view("b")], b"b2"), far_deadline())
        status = describe(caught.value)
        assert status.code == code_pb2.RESOURCE_EXHAUSTED
        assert retry_delay_ms(status) == 5000
        assert "91 MiB" in status.message
        assert "90 MiB" in status.message
        assert await count(client) == 1
        held = 80 * MIB
        await client.deliver(one([view("b")], b"b2"), far_deadline())
        assert await count(client) == 2
        await server.close()

    asyncio.run(run())


def test_what_arrives_counts_before_it_is_taken() -> None:
    budget = MemoryBudget(100, lambda: 60)
    budget.admit(30)
    with pytest.raises(Overloaded):
        budget.admit(31)


def test_a_control_group_lowers_what_there_is(tmp_path: Path) -> None:
    limit, unlimited = tmp_path / "limit", tmp_path / "unlimited"
    limit.write_text("123456789\n")
    unlimited.write_text("max\n")
    whole = machine_bytes(())
    assert machine_bytes((limit, unlimited, tmp_path / "none")) == 123456789
    assert machine_bytes((unlimited,)) == whole > resident_bytes() > 0
    assert default_bytes(4) * 4 <= whole
