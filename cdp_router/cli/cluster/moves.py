"""`cdp placements`, `cdp move`, `cdp drain`: the places of partitions, and their moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from cdp.v1 import admin_pb2
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.cli.terminal_tables import Table
from cdp_router.client import Client
from cdp_router.printable import count_of

_POLL_SECONDS: Final = 0.2


def placements(address: Address = DEFAULT_ADDRESS) -> None:
    """Show the partitions of each shard, and the moves under way."""
    with connected(address) as client:
        found = client.placements()
    table = Table("shard", "partitions", "which", box=None, pad_edge=False)
    held = dict[int, list[int]]()
    for each in found.placements:
        held.setdefault(each.shard, []).append(each.partition)
    for shard, numbers in sorted(held.items()):
        silent = " (does not answer)" if shard in found.silent_shards else ""
        table.add_row(f"{shard}{silent}", str(len(numbers)), " ".join(map(str, numbers)))
    OUT.print(table)
    for move in found.moves:
        OUT.print(f"partition {move.partition}: {_told(move)}", soft_wrap=True)


def move(
    partition: Annotated[int, typer.Argument(min=0, help="The partition.")],
    shard: Annotated[int | None, typer.Option("--to", min=0, help="Target shard.")] = None,
    address: Address = DEFAULT_ADDRESS,
    stop: Annotated[bool, typer.Option("--stop", help="Keep the partition in its place.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end; the move continues either way.")] = True,
) -> None:
    """Move a partition to another shard while it accepts records and answers questions."""
    if stop == (shard is not None):
        fail("give either --to SHARD or --stop", 2)
    with connected(address) as client:
        if shard is None:
            if not client.stop_move(partition):
                fail(f"partition {partition} is not on its way, or has been handed over already")
            OUT.print(f"partition {partition} stays where it is")
            return
        client.move(partition, shard)
        if wait:
            _wait(client, lambda each: each.partition == partition)
            OUT.print(f"partition {partition} is on shard {_holder(client, partition)}")


def drain(
    shard: Annotated[int, typer.Argument(min=0, help="Shard to empty.")],
    address: Address = DEFAULT_ADDRESS,
    wait: Annotated[bool, typer.Option(help="Wait for the end; the moves continue either way.")] = True,
) -> None:
    """Move all partitions of a shard to the others; afterwards the shard can be removed."""
    with connected(address) as client:
        begun = len(client.drain(shard).moves)
        if wait:
            _wait(client, lambda each: each.from_shard == shard)
            left = sum(each.shard == shard for each in client.placements().placements)
            if left:
                fail(f"shard {shard} still holds {count_of(left, 'partition')}; see `cdp placements`")
            OUT.print(f"shard {shard} is empty; {count_of(begun, 'partition was', 'partitions were')} moved to others")


def _wait(client: Client, is_ours: Callable[[admin_pb2.PartitionMove], bool]) -> None:
    """Shows progress until none of these moves is under way."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=OUT, transient=True) as progress:
        shown = dict[int, TaskID]()
        while True:
            moves = {each.partition: each for each in client.placements().moves if is_ours(each)}
            for partition in [*shown]:
                if partition not in moves:
                    progress.remove_task(shown.pop(partition))
            if not moves:
                return
            for partition, each in moves.items():
                if partition not in shown:
                    shown[partition] = progress.add_task(f"partition {partition}", told="", total=None)
                total = each.bytes_total or None
                progress.update(shown[partition], completed=each.bytes_done, total=total, told=_told(each))
            time.sleep(_POLL_SECONDS)


def _told(each: admin_pb2.PartitionMove) -> str:
    where = f"from shard {each.from_shard} to shard {each.to_shard}"
    if each.problem:
        return f"{where}: {each.problem}; tried again every few seconds"
    if each.released:
        return f"{where}: handed over"
    if each.bytes_total and each.bytes_done == each.bytes_total:
        return f"{where}: {count_of(each.records_behind, 'record')} behind"
    done = f"{each.bytes_done / 1e6:,.1f} of {each.bytes_total / 1e6:,.1f} MB" if each.bytes_total else "waiting"
    return f"{where}: {done}"


def _holder(client: Client, partition: int) -> int:
    return next(each.shard for each in client.placements().placements if each.partition == partition)
