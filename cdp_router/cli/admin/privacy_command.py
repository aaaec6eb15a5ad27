"""`cdp privacy`: the values withheld from keys that may not see one person."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import privacy_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected

privacy = typer.Typer(
    name="privacy", help="Settings of values withheld from keys without the role profile-read.", no_args_is_help=True
)
Names = Annotated[list[str], typer.Argument(help="Attributes, or properties of events.", show_default=False)]


@privacy.command()
def show(address: Address = DEFAULT_ADDRESS) -> None:
    """Show which names are personal, and the smallest user count that is shown."""
    with connected(address) as client:
        _print(client.privacy())


@privacy.command()
def mark(names: Names, address: Address = DEFAULT_ADDRESS) -> None:
    """Mark names as personal: their values are masked, and questions that test them refused."""
    with connected(address) as client:
        _print(client.change_privacy(privacy_pb2.ChangePrivacyRequest(mark=names)))


@privacy.command()
def unmark(names: Names, address: Address = DEFAULT_ADDRESS) -> None:
    """Remove the mark from names."""
    with connected(address) as client:
        _print(client.change_privacy(privacy_pb2.ChangePrivacyRequest(unmark=names)))


@privacy.command("smallest-count")
def smallest_count(
    count: Annotated[int, typer.Argument(min=0, help="User counts below this are hidden; 0 hides none.")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Set the smallest user count that is shown."""
    with connected(address) as client:
        _print(client.change_privacy(privacy_pb2.ChangePrivacyRequest(smallest_count=count)))


def _print(found: privacy_pb2.Privacy) -> None:
    OUT.print(f"personal: {', '.join(found.personal) or '(no name is marked)'}", soft_wrap=True)
    OUT.print(
        f"withheld: numbers of users below {found.smallest_count}" if found.smallest_count > 1 else "withheld: none"
    )
