"""`cdp erase`: forget one person."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import admin_pb2, query_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.client import Client
from cdp_store.ids import USER_ID


def erase(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ID is an anonymous id.")] = False,
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Wait until no byte of it, or of any profile erased before, is in a log or snapshot of the cluster.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a profile for good: identifier, attributes and events.

    Ends with code 1 when there is none; with --purge that is no error, since it may be repeated.
    """
    kind = "anonymous_id" if anonymous else kind
    if not yes and not typer.confirm(f"Forget {kind} {identifier} for good?"):
        raise typer.Exit(1)
    with connected(address) as client:
        done = client.erase(admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind=kind, value=identifier)))
        if done.erased:
            OUT.print(f"forgotten: {kind} {identifier} (partition {done.partition}, sequence {done.sequence})")
        elif purge:
            OUT.print(f"no profile has {kind} {identifier}; what it may have left in files is removed now")
        else:
            fail(f"no profile has {kind} {identifier!r}")
        if purge:
            _purge(client)


def _purge(client: Client) -> None:
    for shard in client.purge().shards:
        removed = f"{shard.snapshots_removed} snapshots and {shard.snapshot.log_segments_removed} log segments removed"
        OUT.print(f"shard {shard.shard}: snapshot {shard.snapshot.number} written, {removed}", soft_wrap=True)
        for path in shard.untouched:
            OUT.print(f"shard {shard.shard}: set aside by a salvage and not touched: {path}", soft_wrap=True)
    OUT.print("Copies made elsewhere (`cdp snapshot --to`, directories that a restore replaced) are yours to remove.")
