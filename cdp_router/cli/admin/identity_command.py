"""`cdp identity` and `cdp unlink`: the links between identifiers, and the reasons for them."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import identity_pb2, query_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, print_json
from cdp_router.cli.terminal_tables import Table
from cdp_router.printable import visible
from cdp_store.ids import ANONYMOUS_ID, USER_ID

_Value = Annotated[str, typer.Argument(help="The identifier.", metavar="ID", show_default=False)]


def identity(
    identifier: _Value,
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    address: Address = DEFAULT_ADDRESS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Show the owner of an identifier, with the message and the time that linked it."""
    with connected(address) as client:
        found = client.explain_identity(query_pb2.Identifier(kind=kind, value=identifier))
    if as_json:
        print_json(found)
        return
    OUT.print(f"profile: {_shown(found.profile)}")
    table = Table("identifier", "claimed for", "time (UTC)", "message id", "", box=None, pad_edge=False)
    for each in found.bindings:
        time = each.time.ToDatetime().isoformat(sep=" ") if each.HasField("time") else ""
        state = "unlinked" if each.apart else "" if each.holds else "lost to another claim"
        table.add_row(_shown(each.identifier), _shown(each.claimed_for), time, visible(each.message_id), state)
    OUT.print(table if found.bindings else "no record ever gave another identifier with it")


def unlink(
    identifier: _Value,
    profile: Annotated[str, typer.Argument(help="The user id that it does not belong to.", show_default=False)],
    kind: Annotated[str, typer.Option(help="Kind of ID.")] = ANONYMOUS_ID,
    profile_kind: Annotated[str, typer.Option(help="Kind of the other identifier.")] = USER_ID,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Remove a wrong link permanently; ID's events leave the profile."""
    request = identity_pb2.UnlinkIdentifierRequest(
        identifier=query_pb2.Identifier(kind=kind, value=identifier),
        profile=query_pb2.Identifier(kind=profile_kind, value=profile),
    )
    with connected(address) as client:
        changed = client.unlink(request)
    OUT.print("unlinked" if changed else "they were not linked")


def _shown(identifier: query_pb2.Identifier) -> str:
    return visible(f"{identifier.kind} {identifier.value}")
