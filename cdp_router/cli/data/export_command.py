"""`cdp export`: the content of a cluster as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from cdp.v1 import query_pb2
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from cdp_router.cli.ask.question_arguments import Cql, CqlFile, TreeFile, question_of, segment_of
from cdp_router.cli.console import (
    DEFAULT_ADDRESS,
    OUT,
    Address,
    check_new,
    connected,
    end_with,
    fail,
    parse_as_of,
    print_warnings,
)
from cdp_router.cli.data.export_profile import export_profile
from cdp_router.client.export_files import RecordsIncomplete, write_records
from cdp_router.client.results import MemberBatches, MembersIncomplete
from cdp_router.client.table_files import FORMATS_BY_SUFFIX, FileFormat, TableFile, whole_file
from cdp_router.printable import count_of

export = typer.Typer(
    name="export", help="Write what the cluster holds into files.", no_args_is_help=True, rich_markup_mode=None
)
export.command("profile")(export_profile)

_LONG_SECONDS: Final = 3600.0


@export.command("members")
def members(
    to: Annotated[
        Path, typer.Option(help="File to write: its name ends in .parquet, .csv or .ndjson.", show_default=False)
    ],
    text: Annotated[
        str,
        typer.Argument(help="""The segment, such as: plan = "gold", or in_segment("vip").""", show_default=False),
    ] = "",
    tree: TreeFile = None,
    cql: CqlFile = None,
    attributes: Annotated[
        str, typer.Option(help="Attributes to write with each member, separated by commas.", metavar="A,B,...")
    ] = "",
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Format of the file. [default: by its name]")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="Members and attributes as of then. [default: now]")] = None,
    tz: Annotated[str, typer.Option(help="IANA time zone of dates and calendar windows.")] = "UTC",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on names in the segment that were never seen.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="In CSV, write texts exactly as they are, even those that a spreadsheet runs as formulas."
        ),
    ] = False,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Write the members of a segment: kind and id of each, and the attributes asked for.

    A column has the type of its values; integers and numbers together are numbers, other mixtures text, and lists are
    text too, as JSON. In CSV a text that a spreadsheet would run as a formula gets an apostrophe in front, unless --raw
    is given. The file gets its name when it is whole. Warnings and exit code 3 are those of `cdp query`.
    """
    chosen = file_format or FORMATS_BY_SUFFIX.get(to.suffix.lower())
    if chosen is None:
        fail(f"--to {to}: cannot tell the format from the name; give --format parquet, csv or ndjson", 2)
    check_new(to)
    stamp = None if as_of is None else parse_as_of(as_of, tz)
    names = [name.strip() for name in attributes.split(",") if name.strip()]
    request = query_pb2.MembersRequest(as_of=stamp, tz=tz, strict=strict, attributes=names)
    match question_of(text, tree, cql):
        case str(typed):
            request.text = typed
        case Cql(json_text):
            request.cql = json_text
        case question:
            request.segment.CopyFrom(segment_of(question))
    with connected(address) as client:
        try:
            batches = MemberBatches(client.members(request, _LONG_SECONDS))
            written = _write(batches, to, chosen, raw=raw)
        except (MembersIncomplete, OSError) as error:
            fail(str(error))
    print_warnings(batches.warnings)
    OUT.print(f"{to}: {count_of(written, 'member')}", soft_wrap=True)
    end_with(batches.warnings, found=written)


@export.command("all")
def everything(
    to: Annotated[Path, typer.Option(help="Folder to make.", metavar="FOLDER", show_default=False)],
    file_format: Annotated[FileFormat, typer.Option("--format", help="Format of the files.")] = FileFormat.PARQUET,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Write everything: profiles, values of attributes with their history, events, links between identifiers.

    A file each, which `cdp import FOLDER/*` takes back. In CSV a text that a spreadsheet would run as a formula gets an
    apostrophe in front, which the import takes away. The folder gets its name when all are whole. For backups use
    `cdp snapshot`, which also keeps message ids, rules and named segments, and is quicker.
    """
    check_new(to, is_folder=True)
    if (part := to.with_name(f"{to.name}.part")).exists():
        fail(f"{part} belongs to another export to this place; if that was killed, remove it")
    columns = TextColumn("{task.description}", markup=False), TextColumn("{task.completed:,} records")
    with connected(address) as client, Progress(*columns, TimeElapsedColumn(), console=OUT) as progress:
        task = progress.add_task(to.name, total=None)
        try:
            done = write_records(client.export_records(), to, file_format, lambda rows: progress.advance(task, rows))
        except (RecordsIncomplete, OSError) as error:
            fail(str(error))
    OUT.print(
        f"{to}: {', '.join(count_of(rows, name.removesuffix('s'), name) for name, rows in done.records.items())}",
        soft_wrap=True,
    )
    if done.dropped_events:
        OUT.print(f"not included: {count_of(done.dropped_events, 'event')} of which retention kept only counts")


def _write(batches: MemberBatches, to: Path, file_format: FileFormat, *, raw: bool) -> int:
    columns = TextColumn("{task.description}", markup=False), TextColumn("{task.completed:,} members")
    with (
        Progress(*columns, TimeElapsedColumn(), console=OUT) as progress,
        whole_file(to) as part,
        TableFile(part, file_format, batches.schema, raw=raw) as file,
    ):
        task = progress.add_task(to.name, total=None)
        for batch in batches:
            file.write(batch)
            progress.advance(task, batch.num_rows)
    return file.rows
