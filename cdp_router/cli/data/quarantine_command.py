"""`cdp quarantine`: records that broke a rule of the schema."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf import json_format

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, plain
from cdp_router.cli.terminal_tables import Table
from cdp_router.contract.values import from_value
from cdp_router.printable import count_of

quarantine = typer.Typer(name="quarantine", help="Records that broke a rule of the schema.", no_args_is_help=True)
_Event = Annotated[str | None, typer.Option(help="Only events of this name.", show_default=False)]
_SHOWN = 100


@quarantine.command("list")
def list_(
    address: Address = DEFAULT_ADDRESS,
    as_json: Annotated[bool, typer.Option("--json", help="Print all records, one as JSON on each line.")] = False,
) -> None:
    """Show the first records, or all of them as JSON."""
    with connected(address) as client:
        pages = client.quarantined(_SHOWN)
        if as_json:
            for page in pages:
                for record in page.records:
                    OUT.print(
                        json_format.MessageToJson(record, indent=None, preserving_proto_field_name=True), soft_wrap=True
                    )
            return
        first = next(pages)
    table = Table("time (UTC)", "event", "of", "values", "why", box=None, pad_edge=False)
    for each in first.records:
        values = ", ".join(f"{name}={plain(from_value(value))}" for name, value in sorted(each.values.items()))
        of = f"{each.identifier.kind} {each.identifier.value}"
        time = each.time.ToDatetime().isoformat(sep=" ")
        table.add_row(time, each.event or "(attributes)", of, values, each.reason)
    OUT.print(table if first.records else "the quarantine is empty")
    if first.total > len(first.records):
        OUT.print(f"the first {len(first.records)} of {first.total:,}; --json prints all")


@quarantine.command()
def redrive(event: _Event = None, address: Address = DEFAULT_ADDRESS) -> None:
    """Accept the records that no longer break a rule."""
    with connected(address) as client:
        told = client.redrive_quarantined(event)
    OUT.print(f"{told.taken:,} taken, {told.duplicates:,} had been taken before, {told.kept:,} stay")
    if told.links_refused:
        OUT.print(
            f"{count_of(told.links_refused, 'link was', 'links were')} refused: too many identifiers of their kind "
            "belong to one person"
        )


@quarantine.command()
def drop(
    event: _Event = None,
    address: Address = DEFAULT_ADDRESS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop records for good."""
    what = "all records in quarantine" if event is None else f"events named {event!r} in quarantine"
    if not yes and not typer.confirm(f"Throw {what} away?"):
        raise typer.Exit(1)
    with connected(address) as client:
        OUT.print(f"{client.drop_quarantined(event):,} dropped")
