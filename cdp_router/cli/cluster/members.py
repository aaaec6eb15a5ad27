"""`cdp add-shard` and `cdp remove-shard`: the shards that `cdp up` runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.printable import count_of

if TYPE_CHECKING:
    from cdp_router.cluster.topology import ClusterDirectory

_POLL_SECONDS: Final = 0.2
_WAIT_SECONDS: Final = 120.0
Data = Annotated[Path, typer.Option(help="Directory of the data of the cluster.")]


def add_shard(data: Data = Path("cdp-data"), address: Address = DEFAULT_ADDRESS) -> None:
    """Make a running `cdp up` start one more shard; it holds nothing until partitions are moved to it."""
    directory = _directory(data)
    members = directory.members()
    number = max(members, default=-1) + 1
    while directory.shard_path(number).exists():
        number += 1  # a removed one: the partitions in its directory are outdated
    directory.set_members([*members, number])
    with connected(address) as client:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not any(shard.shard == number and shard.reachable for shard in client.status().shards):
            if number not in directory.members():
                fail(f"shard {number} could not be started; see the output of `cdp up`")
            if time.monotonic() > deadline:
                fail(f"shard {number} does not answer after {_WAIT_SECONDS:g} s; is `cdp up` running on {data}?")
            time.sleep(_POLL_SECONDS)
    OUT.print(f"shard {number} runs; give it partitions with `cdp move PARTITION --to {number}`")


def remove_shard(
    shard: Annotated[int, typer.Argument(min=0, help="A shard without partitions.")],
    data: Data = Path("cdp-data"),
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Make a running `cdp up` stop a drained shard; its directory is kept."""
    directory = _directory(data)
    members = directory.members()
    if shard not in members:
        fail(f"there is no shard {shard}; there are {', '.join(map(str, members))}", 2)
    with connected(address) as client:
        found = client.placements()
    if found.silent_shards:
        fail(f"shard {found.silent_shards[0]} does not answer: the places of all partitions are unknown")
    held = sum(each.shard == shard for each in found.placements)
    coming = [each.partition for each in found.moves if shard in (each.from_shard, each.to_shard)]
    if held or coming:
        fail(
            f"shard {shard} holds {count_of(held, 'partition')}, with {count_of(len(coming), 'move')} under way; "
            f"run `cdp drain {shard}` first"
        )
    directory.set_members(set(members) - {shard})
    OUT.print(f"shard {shard} is no longer a member; its directory can be deleted once `cdp up` reports it as removed")


def _directory(data: Path) -> ClusterDirectory:
    # Imported here: other commands need nothing of the store.
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_store.errors import DirectoryDamaged

    directory = ClusterDirectory(data.resolve())
    if not directory.cluster_path.exists():
        fail(f"{data} holds no cluster; give the --data of `cdp up`", 2)
    try:
        directory.missing()
    except DirectoryDamaged as error:
        fail(str(error))
    return directory
