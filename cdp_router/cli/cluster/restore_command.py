"""`cdp restore`: a data directory from snapshots and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from cdp_router.cli.console import ERR, OUT, fail, parse_instant
from cdp_router.limits import PARTITIONS_MAX
from cdp_router.printable import count_of
from cdp_store.values import to_ms

_NO_KEYS: Final = (
    "{0} holds no API keys: snapshots have none. A cluster started on it admits everybody who reaches it; make keys "
    "first with `cdp keys create NAME --role admin --data {0}`, or start it with --keys"
)
_COPY: Final = (
    "{0} is a copy without a log: people erased after it was made are back. Erase them again (`cdp erase`) before the "
    "first question to this cluster; the receipts and the audit of the old one name the erasures"
)


def restore(
    source: Annotated[str, typer.Option("--from", help="A data directory, or a copy made by `cdp snapshot --to`.")],
    data: Annotated[Path, typer.Option(help="Directory to restore into.")] = Path("cdp-data"),
    shards: Annotated[int | None, typer.Option(min=1, help="Number of shards. [default: unchanged]")] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=PARTITIONS_MAX, help="Number of partitions. [default: unchanged]")
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", help="Only this partition; may be given several times.")
    ] = None,
    until: Annotated[
        str, typer.Option(help="Only data received up to this instant, if snapshots and log reach back to it.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing data; the old directory is kept under another name.")
    ] = False,
) -> None:
    """Restore data into a directory that no cluster uses; start it with `cdp up` afterwards."""
    # Imported here: other commands must not pay for loading the store.
    from cdp_router.restore.cluster_restore import Wanted, restore, source_cluster
    from cdp_store.errors import StoreError
    from cdp_store.outside.seams import SystemClock

    until_ms = to_ms(parse_instant(until, "--until")) if until else None
    try:
        cluster = source_cluster(source)
        if (shards or cluster.shards) > (partitions or cluster.partitions):
            fail(f"{shards or cluster.shards} shards are more than the available partitions", 2)
        unknown = sorted(number for number in partition or () if not 0 <= number < cluster.partitions)
        if unknown:
            fail(f"--partition {unknown[0]} is none of the {cluster.partitions} partitions of {source}", 2)
        wanted = Wanted(shards, partitions, frozenset(partition) if partition else None, until_ms)
        now_ms = SystemClock().now_ms()
        done = restore(source, data.resolve(), wanted, ERR.print, now_ms, overwrite=overwrite)
    except (StoreError, OSError) as error:
        fail(str(error))
    if done.replaced is not None:
        OUT.print(f"the replaced directory is now {done.replaced}", soft_wrap=True)
    shape = f"{count_of(done.cluster.shards, 'shard')}, {count_of(done.cluster.partitions, 'partition')}"
    OUT.print(f"restored {count_of(done.profiles, 'profile')} into {data}: {shape}", soft_wrap=True)
    OUT.print(f"digest {done.digest}")
    if not done.has_log:
        OUT.print(_COPY.format(source), soft_wrap=True)
    if not done.has_keys:
        OUT.print(_NO_KEYS.format(data), soft_wrap=True)
