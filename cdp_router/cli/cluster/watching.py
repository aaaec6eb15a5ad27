"""`cdp status --watch`: the current status of the cluster, with changes since the previous one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from cdp.v1 import admin_pb2
from rich.console import Group
from rich.live import Live
from rich.text import Text

from cdp_router.cli.console import OUT
from cdp_router.cli.terminal_tables import Table
from cdp_router.client import Client, ClusterUnreachable, RequestFailed
from cdp_router.printable import count_of


@dataclass(frozen=True, slots=True)
class Look:
    """Status at one moment of the monotonic clock; `problem` if no router answered."""

    at_seconds: float
    status: admin_pb2.GetStatusResponse | None
    problem: str = ""


def watch(client: Client, seconds: float) -> None:
    """Show one status after the other, in place on a terminal and below each other elsewhere, until Ctrl-C."""
    try:
        if OUT.is_terminal:
            with Live(console=OUT, auto_refresh=False) as live:
                for shown in _views(client, seconds):
                    live.update(shown, refresh=True)
        else:
            for shown in _views(client, seconds):
                OUT.print(shown)
    except KeyboardInterrupt:
        return


def _views(client: Client, seconds: float) -> Iterator[Group]:
    before = _look(client)
    yield view(before, before)
    while True:
        time.sleep(seconds)
        now = _look(client)
        yield view(before, now)
        before = now if now.status is not None else before


def _look(client: Client) -> Look:
    try:
        status, problem = client.status(), ""
    except (ClusterUnreachable, RequestFailed) as error:
        status, problem = None, str(error)
    return Look(time.monotonic(), status, problem)


def view(before: Look, now: Look) -> Group:
    """Render the status, with rates since the previous poll."""
    if now.status is None:
        return Group(now.problem)
    found = now.status
    head = Text(f"cluster {found.cluster}   version {found.version}   {count_of(found.partition_count, 'partition')}")
    table = Table(
        "shard", "state", "profiles", "events", "events/s", "unsealed", "data", "process", box=None, pad_edge=False
    )
    for number, shard in enumerate(found.shards):
        table.add_row(
            str(shard.shard),
            "serving" if shard.reachable else f"away: {shard.problem}",
            f"{sum(size.profiles for size in shard.partitions):,}",
            f"{_events(shard):,}",
            f"{rate(before, now, number):,.0f}",
            f"{sum(size.unsealed for size in shard.partitions):,}",
            f"{sum(sum(size.memory.values()) for size in shard.partitions) / 1e6:,.1f} MB",
            f"{shard.resident_bytes / 1e6:,.1f} MB",
        )
    return Group(head, table)


def rate(before: Look, now: Look, shard: int) -> float:
    """Events a second that a shard accepted between two polls; 0 if there is nothing to compare."""
    seconds = now.at_seconds - before.at_seconds
    earlier, later = _shard(before, shard), _shard(now, shard)
    if earlier is None or later is None or seconds <= 0:
        return 0.0
    return max(0, _events(later) - _events(earlier)) / seconds


def _events(shard: admin_pb2.ShardStatus) -> int:
    return sum(size.events for size in shard.partitions)


def _shard(look: Look, number: int) -> admin_pb2.ShardStatus | None:
    if look.status is None or number >= len(look.status.shards) or not look.status.shards[number].reachable:
        return None
    return look.status.shards[number]
