"""`cdp retention`: how long events are kept."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import admin_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail
from cdp_router.cli.terminal_tables import Table


def retention(
    event: Annotated[str, typer.Argument(help="An event name; default: all without a rule.", metavar="EVENT")] = "",
    address: Address = DEFAULT_ADDRESS,
    days: Annotated[int | None, typer.Option(min=1, help="Keep events this many days, then drop them.")] = None,
    for_ever: Annotated[bool, typer.Option("--for-ever", help="Keep events for ever.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Show how long events are kept; with --days or --for-ever, change it. Dropped events do not come back."""
    if days is not None and for_ever:
        fail("--days and --for-ever exclude each other", 2)
    if event and days is None and not for_ever:
        fail("state how long to keep these events: --days N or --for-ever", 2)
    what = repr(event) if event else "all events without a rule of their own"
    if days is not None and not yes and not typer.confirm(f"Drop {what} older than {days} days for good?"):
        raise typer.Exit(1)
    with connected(address) as client:
        if days is None and not for_ever:
            OUT.print(_table(client.retention()))
            return
        rule = admin_pb2.RetentionRule(event=event, days=days or 0)
        OUT.print(_table(client.set_retention(rule)))


def _table(found: admin_pb2.GetRetentionResponse | admin_pb2.SetRetentionResponse) -> Table:
    table = Table("event", "kept", "complete since (UTC)", box=None, pad_edge=False)
    since = {item.event: item.since.ToDatetime().isoformat(sep=" ") for item in found.retained}
    rules = {rule.event: rule.days for rule in found.rules}
    for event in sorted({*rules, *since, ""}):
        days = rules.get(event, rules.get("", 0))
        kept = f"{days} days" if days else "for ever"
        table.add_row(event or "(all others)", kept, since.get(event, ""))
    return table
