"""A shard near its memory budget refuses data with a delay to retry after, and goes on answering."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.rpc import code_pb2

from cdp_router.cluster.shard_methods import DELIVER
from cdp_router.contract.status import describe, retry_delay_ms
from cdp_router.errors import Overloaded
from cdp_router.shard.control_groups import limit_files
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.memory_budget import MemoryBudget, default_bytes, machine_bytes, resident_bytes
from cdp_router.shard.server import ShardServer
from cdp_store.limits import MIB
from tests.router.local_cluster import far_deadline, open_store
from tests.router.shard_client_contract import count, one, view


def test_row_21_ingest_is_refused_before_memory_ends_and_queries_go_on(tmp_path: Path) -> None:
    held = 80 * MIB

    async def run() -> None:
        server = ShardServer(open_store(tmp_path), lambda error: None, budget=MemoryBudget(100 * MIB, lambda: held))
        client = LocalShardClient(server)
        nonlocal held
        await client.call(DELIVER, one([view("a")], b"b1"), far_deadline())
        held = 91 * MIB
        with pytest.raises(Overloaded) as caught:
            await client.call(DELIVER, one([view("b")], b"b2"), far_deadline())
        status = describe(caught.value)
        assert status.code == code_pb2.RESOURCE_EXHAUSTED
        assert retry_delay_ms(status) == 5000
        assert "91 MiB" in status.message
        assert "90 MiB" in status.message
        assert await count(client) == 1
        held = 80 * MIB
        await client.call(DELIVER, one([view("b")], b"b2"), far_deadline())
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


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 22 0:26 {top} {root}/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
32 22 0:27 / {root}/cpu rw - cgroup cgroup rw,cpu
33 22 0:28 {top} {root}/memory rw - cgroup cgroup rw,memory
"""


@pytest.mark.parametrize(
    ("groups", "top", "limits", "allowed"),
    [
        pytest.param("0::/system/cdp\n", "/", {"unified/system/cdp/memory.max": 100}, 100, id="its own"),
        pytest.param(
            "0::/system/cdp\n",
            "/",
            {"unified/system/cdp/memory.max": "max", "unified/system/memory.max": 90, "unified/memory.max": 95},
            90,
            id="one above",
        ),
        pytest.param(
            "5:cpu,cpuacct:/system/cdp\n4:memory:/system/cdp\n0::/\n",
            "/",
            {
                "memory/system/cdp/memory.limit_in_bytes": 9223372036854771712,
                "memory/system/memory.limit_in_bytes": 80,
                "cpu/system/cdp/memory.limit_in_bytes": 1,
            },
            80,
            id="version 1",
        ),
        pytest.param("0::/docker/7/app\n", "/docker/7", {"unified/app/memory.max": 70}, 70, id="in a container"),
        pytest.param("0::/\n", "/", {"unified/memory.max": 60}, 60, id="in a namespace"),
        pytest.param("0::/../other\n", "/", {"unified/memory.max": 50, "other/memory.max": 1}, 50, id="outside of it"),
        pytest.param("0::/elsewhere\n", "/docker/7", {"unified/memory.max": 40}, 40, id="not below the mount"),
    ],
)
def test_the_smallest_limit_of_the_groups_of_the_process_holds(
    tmp_path: Path, groups: str, top: str, limits: dict[str, object], allowed: int
) -> None:
    process, root = tmp_path / "process", tmp_path / "groups"
    process.mkdir()
    (process / "cgroup").write_text(groups)
    (process / "mountinfo").write_text(MOUNTS.format(root=root, top=top))
    for name, limit in limits.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{limit}\n")
    assert machine_bytes(limit_files(process)) == allowed


def test_without_control_groups_the_machine_is_all_there_is(tmp_path: Path) -> None:
    assert limit_files(tmp_path) == []
    assert machine_bytes() <= machine_bytes(())


def test_in_a_small_group_the_other_processes_have_room() -> None:
    assert default_bytes(2, 16 << 30) == int((16 << 30) * 0.8) // 2
    assert default_bytes(1, 1 << 30) == (1 << 30) - 640 * MIB
    assert default_bytes(2, 512 * MIB) == 64 * MIB
