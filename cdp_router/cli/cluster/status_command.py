"""`cdp status`: shards, sizes and memory of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import admin_pb2

from cdp_router.cli.cluster.watching import watch
from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, print_json
from cdp_router.cli.terminal_tables import Table
from cdp_router.printable import count_of


def status(
    address: Address = DEFAULT_ADDRESS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    watching: Annotated[bool, typer.Option("--watch", help="Refresh continuously; adds events per second.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between updates.")] = 1.0,
    names: Annotated[bool, typer.Option("--names", help="Also list event, property and attribute names.")] = False,
) -> None:
    """Show shards, sizes and memory. Ends with code 1 if a shard does not answer."""
    with connected(address) as client:
        if watching:
            watch(client, every)
            return
        found = client.status()
        schema = client.schema() if names else None
    if as_json:
        print_json(found)
    else:
        OUT.print(f"cluster {found.cluster}   version {found.version}   {count_of(found.partition_count, 'partition')}")
        OUT.print(_shards(found))
    if schema is not None:
        for what, listed in (
            ("events", schema.events),
            ("properties", schema.properties),
            ("attributes", schema.attributes),
        ):
            OUT.print(f"{what}: {', '.join(listed)}", soft_wrap=True)
    if not all(shard.reachable for shard in found.shards):
        raise typer.Exit(1)


def _shards(found: admin_pb2.GetStatusResponse) -> Table:
    table = Table(
        "shard",
        "address",
        "state",
        "partitions",
        "profiles",
        "events",
        "unsealed",
        "data",
        "process",
        box=None,
        pad_edge=False,
    )
    for shard in found.shards:
        sizes = shard.partitions
        table.add_row(
            str(shard.shard),
            shard.address,
            "serving" if shard.reachable else f"away: {shard.problem}",
            str(len(sizes)),
            f"{sum(size.profiles for size in sizes):,}",
            f"{sum(size.events for size in sizes):,}",
            f"{sum(size.unsealed for size in sizes):,}",
            _megabytes(sum(sum(size.memory.values()) for size in sizes)),
            _megabytes(shard.resident_bytes),
        )
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
