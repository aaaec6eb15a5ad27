"""`cdp snapshot`, `cdp verify` and `cdp digest`: safety of the data, and checks of it."""

from __future__ import annotations

from typing import Annotated

import typer

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.cli.terminal_tables import Table
from cdp_router.printable import count_of


def snapshot(
    address: Address = DEFAULT_ADDRESS,
    to: Annotated[
        str, typer.Option("--to", help="Also copy missing files to this path or URI, such as s3://bucket/cdp.")
    ] = "",
) -> None:
    """Write a snapshot on every shard and wait."""
    with connected(address) as client:
        made = client.snapshot(to)
    columns = ("shard", "snapshot", "written", "shared", "log segments removed", "seconds")
    table = Table(*columns, box=None, pad_edge=False)
    for shard in made.shards:
        table.add_row(
            str(shard.shard),
            str(shard.number),
            f"{count_of(shard.files_written, 'file')}, {shard.bytes_written / 1e6:,.1f} MB",
            f"{count_of(shard.files_shared, 'file')}, {shard.bytes_shared / 1e6:,.1f} MB",
            str(shard.log_segments_removed),
            f"{shard.milliseconds / 1000:.2f}",
        )
    OUT.print(table)
    if to:
        OUT.print(f"copied to {to}, as seen from each shard", soft_wrap=True)


def verify(
    address: Address = DEFAULT_ADDRESS,
    source: Annotated[
        str,
        typer.Option("--from", help="Check this data directory or copy (path or URI) instead of a running cluster."),
    ] = "",
) -> None:
    """Read every file of every snapshot and compare it with its checksum. Ends with code 1 if any is damaged."""
    if source:
        # Imported here: other commands must not pay for loading the store.
        from cdp_router.restore.cluster_restore import verify_source
        from cdp_store.errors import StoreError

        try:
            snapshots, files, size, problems = verify_source(source)
        except (StoreError, OSError) as error:
            fail(str(error))
    else:
        with connected(address) as client:
            found = client.verify()
        snapshots, files, size = found.snapshots, found.files, found.bytes
        problems = [
            f"shard {each.shard}, snapshot {each.number}: {each.file}: {each.problem}" for each in found.problems
        ]
    for problem in problems:
        OUT.print(problem, soft_wrap=True)
    OUT.print(
        f"{count_of(snapshots, 'snapshot')}, {count_of(files, 'file')}, {size / 1e6:,.1f} MB, "
        f"{count_of(len(problems), 'problem')}"
    )
    if problems:
        raise typer.Exit(1)


def digest(
    address: Address = DEFAULT_ADDRESS,
    partitions: Annotated[bool, typer.Option("--partitions", help="Also print the digest of each partition.")] = False,
) -> None:
    """Print a digest of all data: equal contents have equal digests, whatever their layout or partitioning."""
    with connected(address) as client:
        found = client.digest()
    if partitions:
        for each in found.partitions:
            OUT.print(f"{each.digest}  partition {each.partition} at sequence {each.sequence}")
    OUT.print(found.digest)
