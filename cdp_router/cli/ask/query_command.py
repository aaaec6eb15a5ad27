"""`cdp query`: a question in text, an answer on the terminal."""

from __future__ import annotations

import io
import json
from typing import Annotated

import pyarrow as pa
import typer
from cdp.v1 import query_pb2

from cdp_router.cli.ask.question_arguments import Cql, CqlFile, TreeFile, question_of, segment_of
from cdp_router.cli.ask.report_tables import funnel_tables, report_legend, report_table, share
from cdp_router.cli.console import (
    DEFAULT_ADDRESS,
    OUT,
    Address,
    connected,
    echo_exact,
    end_with,
    fail,
    parse_as_of,
    print_json,
    print_warnings,
    value_label,
)
from cdp_router.cli.terminal_tables import Table
from cdp_router.client import Members
from cdp_router.contract.values import from_value
from cdp_router.printable import count_of

WITHHELD = "WITHHELD"
_ROWS_SHOWN = 25


def query(
    text: Annotated[
        str,
        typer.Argument(
            help="""The question, such as: count("Charged", last: 30d) >= 3 and plan = "gold".""", show_default=False
        ),
    ] = "",
    tree: TreeFile = None,
    cql: CqlFile = None,
    address: Address = DEFAULT_ADDRESS,
    ids: Annotated[bool, typer.Option("--ids", help="Print the members' ids, one a line.")] = False,
    by: Annotated[
        str, typer.Option(help="Count the members by the value of this attribute.", metavar="ATTRIBUTE")
    ] = "",
    as_of: Annotated[
        str | None, typer.Option(help="Answer as of this date or instant; without a zone, in --tz. [default: now]")
    ] = None,
    tz: Annotated[str, typer.Option(help="IANA time zone of dates and calendar windows.")] = "UTC",
    explain: Annotated[bool, typer.Option("--explain", help="Show the plan and its cost.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on unknown names and on types that never match.")
    ] = False,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Answer even if a shard is missing.")] = False,
) -> None:
    """Ask which users: count them, list them, or break them down.

    Ends with exit code 3 if no user was found and a warning reports that a name is unknown, or that no value has the
    type it is compared with.
    """
    if ids and (by or explain):
        fail("--ids goes with neither --by nor --explain", 2)
    question = question_of(text, tree, cql)
    stamp = None if as_of is None else parse_as_of(as_of, tz)
    with connected(address) as client:
        if ids:
            request = query_pb2.MembersRequest(as_of=stamp, tz=tz, strict=strict)
            match question:
                case str(typed):
                    request.text = typed
                case Cql(json_text):
                    request.cql = json_text
                case _:
                    request.segment.CopyFrom(segment_of(question))
            members = Members.from_responses(client.members(request))
            _print_ids(members, as_json)
            end_with(members.warnings, found=len(members.ids()))
            return
        asked = query_pb2.QueryRequest(
            by=by, as_of=stamp, tz=tz, strict=strict, explain=explain, allow_partial=allow_partial
        )
        match question:
            case str(typed):
                asked.text = typed
            case Cql(json_text):
                asked.cql = json_text
            case _:
                asked.tree.CopyFrom(question)
        answer = client.query(asked)
    if as_json:
        print_json(answer, with_unset=True)
    else:
        _print_answer(answer)
    end_with(answer.warnings, found=answer.count or WITHHELD in answer.flags)


def _print_ids(members: Members, as_json: bool) -> None:
    print_warnings(members.warnings)
    with pa.ipc.open_stream(io.BytesIO(members.stream)) as reader:
        for batch in reader:
            names = batch.column("id").to_pylist()
            if as_json:
                kinds = batch.column("kind").to_pylist()
                rows = [f'{{"kind":"{kind}","id":{_quoted(name)}}}' for kind, name in zip(kinds, names, strict=True)]
            else:
                rows = names
            echo_exact("\n".join(rows))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _print_answer(answer: query_pb2.QueryResponse) -> None:
    print_warnings(answer.warnings)
    if answer.funnel:
        OUT.print(_funnel_table(answer))
        for part in funnel_tables(answer):
            OUT.print(part)
    elif WITHHELD in answer.flags and not answer.count and answer.WhichOneof("report") is None:
        OUT.print(
            f"withheld: fewer than {answer.withheld_below} of {count_of(answer.population, 'user')}, or all but so few"
        )
    else:
        members = answer.count / answer.population if answer.population else 0.0
        OUT.print(f"{answer.count:,} of {count_of(answer.population, 'user')} ({members:.2%})")
    if answer.breakdown:
        OUT.print(_breakdown_table(answer))
    table = report_table(answer)
    if table is not None:
        OUT.print(table)
        if legend := report_legend(answer):
            OUT.print(legend, soft_wrap=True)
    covered = f"{len(answer.coverage.answered)}/{count_of(answer.coverage.total, 'partition')}"
    if WITHHELD in answer.flags:
        OUT.print(
            f"rows and numbers below {answer.withheld_below} are withheld; a key with the role profile-read sees them"
        )
    flags = f"   flags: {', '.join(answer.flags)}" if answer.flags else ""
    sizes = ", ".join(
        (
            count_of(answer.rows_scanned, "row"),
            count_of(answer.events_scanned, "event"),
            count_of(answer.bytes_scanned, "byte"),
        )
    )
    OUT.print(
        f"as of {answer.as_of.ToDatetime().isoformat()}Z   {covered}   {answer.milliseconds:.1f} ms"
        f"{'' if answer.withheld_below else f'   {sizes}'}{flags}",
        soft_wrap=True,
    )
    if answer.explanation:
        OUT.print(_explanation_table(answer))


def _funnel_table(answer: query_pb2.QueryResponse) -> Table:
    table = Table("step", "users", "of the first", "of the one before", box=None, pad_edge=False)
    first = before = answer.funnel[0].count
    for number, step in enumerate(answer.funnel, 1):
        table.add_row(f"{number} {step.label}", f"{step.count:,}", share(step.count, first), share(step.count, before))
        before = step.count
    return table


def _breakdown_table(answer: query_pb2.QueryResponse) -> Table:
    table = Table("value", "users", "share", box=None, pad_edge=False)
    for row in answer.breakdown[:_ROWS_SHOWN]:
        value = from_value(row.value)
        table.add_row(value_label(value), f"{row.count:,}", share(row.count, answer.count))
    hidden = answer.breakdown[_ROWS_SHOWN:]
    if hidden:
        rest = sum(row.count for row in hidden)
        table.add_row(f"({len(hidden)} more)", f"{rest:,}", share(rest, answer.count))
    if answer.breakdown_rest:
        table.add_row("(all others)", f"{answer.breakdown_rest:,}", share(answer.breakdown_rest, answer.count))
    return table


def _explanation_table(answer: query_pb2.QueryResponse) -> Table:
    table = Table(
        "step", "users", "partitions", "chunks", "pruned", "rows", "events", "bytes", "ms", box=None, pad_edge=False
    )
    for step in answer.explanation:
        table.add_row(
            "  " * step.depth + step.text,
            f"{step.rows_true:,}",
            f"{step.evaluations}/{len(answer.coverage.answered)}",
            f"{step.chunks:,}",
            f"{step.chunks_pruned:,}",
            f"{step.rows:,}",
            f"{step.events:,}",
            f"{step.bytes:,}",
            f"{step.milliseconds:.2f}",
        )
    return table
