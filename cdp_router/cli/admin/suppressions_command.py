"""`cdp suppressions`: identifiers of erased people, whose records are refused."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import admin_pb2, query_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.cli.terminal_tables import Table
from cdp_store.ids import USER_ID

suppressions = typer.Typer(
    name="suppressions", help="Identifiers of erased people, whose records are refused.", no_args_is_help=True
)


@suppressions.command("list")
def list_(address: Address = DEFAULT_ADDRESS) -> None:
    """List them: only keyed hashes are kept."""
    with connected(address) as client:
        found = client.suppressions()
    table = Table("fingerprint", "since (UTC)", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.fingerprint, each.since.ToDatetime().isoformat(sep=" ", timespec="seconds"))
    OUT.print(table if found else "nothing is suppressed")


@suppressions.command()
def lift(
    identifier: Annotated[str, typer.Argument(help="The identifier.", metavar="ID", show_default=False)],
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    is_fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="ID is a fingerprint from the list instead.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Accept records under an identifier again."""
    if is_fingerprint:
        request = admin_pb2.LiftSuppressionRequest(fingerprint=identifier)
    else:
        request = admin_pb2.LiftSuppressionRequest(identifier=query_pb2.Identifier(kind=kind, value=identifier))
    with connected(address) as client:
        if not client.lift_suppression(request):
            fail(f"{identifier!r} is not suppressed")
    OUT.print("lifted")
