"""`cdp schema`: the rules that records must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cdp.v1 import schema_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cdp_router.cli.ask.json_files import message_of
from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail, print_json, text_of
from cdp_router.cli.terminal_tables import Table
from cdp_router.printable import count_of

schema = typer.Typer(name="schema", help="Rules for records, and the names seen in them.", no_args_is_help=True)


@schema.command("set")
def set_(
    rules: Annotated[Path, typer.Argument(help="JSON of cdp.v1.SchemaRules, as `cdp schema show` prints it.")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Replace all rules."""
    message = message_of(text_of(rules, "RULES"), schema_pb2.SchemaRules(), str(rules), 1)
    with connected(address) as client:
        made = client.set_schema_rules(message)
    OUT.print(f"{len(made.rules)} rules")


@schema.command()
def show(address: Address = DEFAULT_ADDRESS) -> None:
    """Print the rules as JSON."""
    with connected(address) as client:
        found = client.schema_rules()
    print_json(found)


@schema.command()
def discover(
    address: Address = DEFAULT_ADDRESS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Show the names that were seen: types, counts, first and last times, and the number of different texts."""
    with connected(address) as client:
        found = client.discover_schema()
    if as_json:
        print_json(found)
        return
    table = Table(
        "event", "property", "values", "different texts", "first (UTC)", "last (UTC)", box=None, pad_edge=False
    )
    for event in found.events:
        count = f"{event.count:,}" if event.count or not found.withheld_below else f"below {found.withheld_below}"
        table.add_row(event.name, "", count, "", *_instants(event, found.withheld_below))
        for each in event.properties:
            table.add_row("", each.name, _types(each), _distinct(each))
    for each in found.attributes:
        table.add_row("(attribute)", each.name, _types(each), _distinct(each), *_instants(each, found.withheld_below))
    OUT.print(table)
    if found.withheld_below:
        OUT.print(
            f"numbers below {found.withheld_below} are withheld, and times are whole days; a key with the role "
            "profile-read sees them",
            soft_wrap=True,
        )


@schema.command()
def forget(
    events: Annotated[list[str] | None, typer.Argument(help="Event names to forget.", metavar="EVENT...")] = None,
    unused: Annotated[
        bool,
        typer.Option(
            "--unused", help="Forget all names as well that no event or profile has: events, properties, attributes."
        ),
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop all events of some names for good, so that the names no longer count against the limit."""
    names = events or []
    if not names and not unused:
        fail("name the events to forget, or give --unused", 2)
    if names and not yes and not typer.confirm(f"Drop all events named {', '.join(map(repr, names))} for good?"):
        raise typer.Exit(1)
    with connected(address) as client:
        forgotten = client.forget_events(names, unused=unused)
    OUT.print(f"{count_of(len(forgotten), 'name is', 'names are')} forgotten")
    for name in sorted(set(names) - set(forgotten)):
        OUT.print(f"no event named {name!r} was known")


def _types(seen: schema_pb2.SeenProperty) -> str:
    names = [
        (schema_pb2.ValueType.Name(each.type).removeprefix("VALUE_TYPE_").lower(), each.count) for each in seen.types
    ]
    return ", ".join(f"{name} {count:,}" for name, count in names)


def _distinct(seen: schema_pb2.SeenProperty) -> str:
    if seen.distinct_at_most == 0:
        return ""
    if seen.distinct_at_least == seen.distinct_at_most:
        return f"{seen.distinct_at_least:,}"
    return f"{seen.distinct_at_least:,} to {seen.distinct_at_most:,}"


def _instants(seen: schema_pb2.SeenEvents | schema_pb2.SeenProperty, withheld_below: int) -> tuple[str, str]:
    """The first and the last time; for keys without profile-read their days, or nothing."""
    if not (seen.HasField("first") and seen.HasField("last")):
        return "", ""
    length = len("2026-01-31") if withheld_below > 1 else None
    return _shown(seen.first)[:length], _shown(seen.last)[:length]


def _shown(time: Timestamp) -> str:
    return time.ToDatetime().isoformat(sep=" ", timespec="seconds")
