"""`cdp explain-user`: why one person is in a segment, or is not."""

from __future__ import annotations

from typing import Annotated

import typer
from cdp.v1 import proof_pb2, query_pb2
from rich.tree import Tree

from cdp_router.cli.ask.question_arguments import Cql, CqlFile, TreeFile, question_of, segment_of
from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, parse_as_of, plain, print_json
from cdp_router.contract.values import from_value
from cdp_router.printable import visible

_SHOWN = 5


def explain_user(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    text: Annotated[str, typer.Argument(help="The segment in text form.", show_default=False)] = "",
    address: Address = DEFAULT_ADDRESS,
    tree: TreeFile = None,
    cql: CqlFile = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ID is an anonymous id.")] = False,
    as_of: Annotated[
        str | None, typer.Option(help="Explain as of this date or instant; without a zone, in --tz. [default: now]")
    ] = None,
    tz: Annotated[str, typer.Option(help="IANA time zone of dates and calendar windows.")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
) -> None:
    """Show which parts of a segment hold for one person, with the events and values that decide."""
    request = proof_pb2.ExplainUserRequest(tz=tz)
    if anonymous:
        request.anonymous_id = identifier
    else:
        request.user_id = identifier
    if as_of is not None:
        request.as_of.CopyFrom(parse_as_of(as_of, tz))
    match question_of(text, tree, cql):
        case str(typed):
            request.text = typed
        case Cql(json_text):
            request.cql = json_text
        case question:
            request.segment.CopyFrom(segment_of(question))
    with connected(address) as client:
        found = client.explain_user(request)
    if as_json:
        print_json(found)
        return
    said = "in the segment" if found.member else "not in the segment"
    unborn = "" if found.in_population else " (not in the population at this instant)"
    OUT.print(f"{identifier} is {said}{unborn}, as of {found.as_of.ToDatetime().isoformat()}Z", soft_wrap=True)
    OUT.print(_branch(found.proof))


def _branch(node: proof_pb2.ProofNode) -> Tree:
    branch = Tree(f"{'yes' if node.holds else 'no '}  {node.text}", guide_style="dim")
    for part in node.parts:
        branch.children.append(_branch(part))
    for value in node.values[-_SHOWN:]:
        shown = "unset" if value.value.WhichOneof("kind") is None else plain(from_value(value.value))
        branch.add(f"{shown}, since {value.since.ToDatetime().isoformat()}Z")
    for event in node.events[-_SHOWN:]:
        branch.add(_event(event))
    hidden = node.event_count - len(node.events[-_SHOWN:])
    if hidden > 0:
        branch.add(f"and {hidden:,} more event{'s' if hidden != 1 else ''}")
    return branch


def _event(event: query_pb2.ProfileEvent) -> str:
    values = ", ".join(
        f"{visible(name)} {plain(from_value(value))}" for name, value in sorted(event.properties.items())
    )
    return f"{event.time.ToDatetime().isoformat()}Z  {visible(event.name)}{'  ' if values else ''}{values}"
