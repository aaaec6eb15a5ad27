"""`cdp segment`: named segments, used in questions as in_segment("name")."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import named_segment_pb2
from rich.text import Text

from cdp_router.cli.ask.question_arguments import Cql, CqlFile, TreeFile, question_of, segment_of
from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, print_json
from cdp_router.cli.terminal_tables import Table

segment = typer.Typer(
    name="segment", help="Keep segments under names, for in_segment(...) in questions.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The segment's name.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@segment.command()
def create(
    name: Name,
    text: Annotated[str, typer.Argument(help="The segment in text form.", show_default=False)] = "",
    address: Address = DEFAULT_ADDRESS,
    tree: TreeFile = None,
    cql: CqlFile = None,
    description: Annotated[str, typer.Option(help="Purpose of the segment.")] = "",
) -> None:
    """Create a segment, or the next version of an existing one."""
    request = named_segment_pb2.CreateSegmentRequest(name=name, description=description)
    match question_of(text, tree, cql):
        case str(typed):
            request.text = typed
        case Cql(json):
            request.cql = json
        case question:
            request.segment.CopyFrom(segment_of(question))
    with connected(address) as client:
        made = client.create_segment(request)
    OUT.print(f"{made.name} version {made.version}: {made.text}", soft_wrap=True)


@segment.command("list")
def list_segments(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List all segments in their newest versions."""
    with connected(address) as client:
        found = client.segments()
    if as_json:
        print_json(found)
        return
    table = Table("name", "version", "created", "segment", box=None, pad_edge=False)
    for item in found.segments:
        table.add_row(item.name, str(item.version), f"{item.created.ToDatetime():%Y-%m-%d %H:%M}", item.text)
    OUT.print(table)


@segment.command()
def show(
    name: Name,
    address: Address = DEFAULT_ADDRESS,
    version: Annotated[int | None, typer.Option(min=1, help="An older version. [default: the newest]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one version of a segment."""
    with connected(address) as client:
        found = client.segment(name, version)
    if as_json:
        print_json(found)
        return
    OUT.print(f"{found.name} version {found.version}, created {found.created.ToDatetime().isoformat()}Z")
    if found.description:
        OUT.print(found.description, soft_wrap=True)
    OUT.print(Text(found.text), soft_wrap=True)  # with its original line breaks


@segment.command()
def delete(name: Name, address: Address = DEFAULT_ADDRESS) -> None:
    """Delete a segment with all its versions."""
    with connected(address) as client:
        versions = client.delete_segment(name)
    OUT.print(f"{name} deleted: {versions} version{'s' if versions != 1 else ''}", soft_wrap=True)
