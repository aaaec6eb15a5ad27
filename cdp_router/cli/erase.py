"""`cdp erase`: forget one person."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import admin_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail


def erase(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ID is an anonymous id.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a profile for good: identifier, attributes and events. Ends with code 1 when there is none."""
    kind = "anonymous_id" if anonymous else "user_id"
    if not yes and not typer.confirm(f"Forget {kind} {identifier} for good?"):
        raise typer.Exit(1)
    with connected(address) as client:
        done = client.erase(admin_pb2.EraseProfileRequest(**{kind: identifier}))
    if not done.erased:
        fail(f"no profile has {kind} {identifier!r}")
    OUT.print(f"forgotten: {kind} {identifier} (partition {done.partition}, sequence {done.sequence})")
