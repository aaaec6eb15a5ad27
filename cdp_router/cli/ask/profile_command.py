"""`cdp profile`: one person."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import query_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, plain, print_json
from cdp_router.cli.terminal_tables import Table
from cdp_router.contract.values import from_value
from cdp_router.limits import PROFILE_EVENTS_MAX
from cdp_router.printable import count_of, visible
from cdp_store.ids import USER_ID


def profile(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ID is an anonymous id.")] = False,
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    events: Annotated[int, typer.Option(min=1, max=PROFILE_EVENTS_MAX, help="Events to show, latest first.")] = 20,
    origins: Annotated[
        bool, typer.Option("--origins", help="Also show the origin of each event: receipt, message id, source.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Show a profile: identifiers, attributes, timeline."""
    named = query_pb2.Identifier(kind="anonymous_id" if anonymous else kind, value=identifier)
    with connected(address) as client:
        request = query_pb2.GetProfileRequest(other=named, events_max=events, with_origins=origins)
        found = client.profile(request)
    if as_json:
        print_json(found)
        return
    for known in found.identifiers:
        OUT.print(visible(f"{known.kind} {known.value}"))
    OUT.print(f"since {found.created.ToDatetime().isoformat()}Z   partition {found.partition}")
    OUT.print(_attributes(found))
    OUT.print(f"{count_of(found.event_count, 'event')}, the latest {len(found.events):,}:")
    OUT.print(_origins(found) if origins else _timeline(found))


def _attributes(found: query_pb2.GetProfileResponse) -> Table:
    table = Table("attribute", "value", box=None, pad_edge=False)
    for name, value in sorted(found.attributes.items()):
        table.add_row(visible(name), plain(from_value(value)))
    return table


def _timeline(found: query_pb2.GetProfileResponse) -> Table:
    table = Table("time (UTC)", "event", "properties", box=None, pad_edge=False)
    for event in found.events:
        values = ", ".join(
            f"{visible(name)}={plain(from_value(value))}" for name, value in sorted(event.properties.items())
        )
        table.add_row(event.time.ToDatetime().isoformat(sep=" "), visible(event.name), values)
    return table


def _origins(found: query_pb2.GetProfileResponse) -> Table:
    table = Table(
        "time (UTC)", "event", "received (UTC)", "message id", "source", "log", "envelope", box=None, pad_edge=False
    )
    for event in found.events:
        came = event.origin
        known = event.HasField("origin")
        table.add_row(
            event.time.ToDatetime().isoformat(sep=" "),
            visible(event.name),
            came.received.ToDatetime().isoformat(sep=" ") if known else "unknown",
            visible(came.message_id),
            visible(f"{came.source.kind} {came.source.value}") if known else "",
            f"{came.partition}:{came.sequence}" if known else "",
            visible(came.envelope),
        )
    return table
