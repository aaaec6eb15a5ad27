"""`cdp schema`: what records may look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cdp.v1 import schema_pb2
from google.protobuf import json_format

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail

schema = typer.Typer(name="schema", help="What records may look like, and what they do.", no_args_is_help=True)


@schema.command("set")
def set_(
    rules: Annotated[Path, typer.Argument(help="JSON of cdp.v1.SchemaRules, as `cdp schema show` prints it.")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Replace all rules."""
    try:
        message = json_format.Parse(rules.read_text(encoding="utf-8"), schema_pb2.SchemaRules())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        fail(f"{rules}: {error}")
    with connected(address) as client:
        made = client.set_schema_rules(message)
    OUT.print(f"{len(made.rules)} rules")


@schema.command()
def show(address: Address = DEFAULT_ADDRESS) -> None:
    """Print the rules as JSON."""
    with connected(address) as client:
        found = client.schema_rules()
    OUT.print(json_format.MessageToJson(found, preserving_proto_field_name=True), soft_wrap=True)
