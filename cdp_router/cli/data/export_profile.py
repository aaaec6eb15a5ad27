"""`cdp export profile`: everything that is kept of one person."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cdp.v1 import profile_pb2, query_pb2

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, ExactOutput, check_new, connected, fail
from cdp_router.client.exporting import ExportIncomplete, write_json, write_json_file, write_parquet
from cdp_router.printable import count_of
from cdp_store.ids import USER_ID


class Format(StrEnum):
    """Form of the output."""

    JSON = "json"
    PARQUET = "parquet"


def export_profile(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    to: Annotated[
        Path | None,
        typer.Option(help="File to write, or with parquet the folder to make; without it JSON is printed."),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="One JSON document, or Parquet tables.")] = Format.JSON,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Write everything that is kept about a person, found by any identifier.

    Identifiers and the records that linked them, attributes with all their past values, and events with properties.
    Each comes with its receipt: message id, source, time of receipt.
    """
    if output is Format.PARQUET and to is None:
        fail("Parquet tables need a folder: --to FOLDER")
    if to is not None:
        check_new(to, is_folder=output is Format.PARQUET)
    name = profile_pb2.ProfileName(other=query_pb2.Identifier(kind=kind, value=identifier))
    with connected(address) as client:
        responses = client.export_profile(name)
        try:
            if to is None:
                write_json(responses, ExactOutput())
                return
            end = write_parquet(responses, to) if output is Format.PARQUET else write_json_file(responses, to)
        except (ExportIncomplete, OSError) as error:
            fail(str(error))
    changes = count_of(end.changes, "value of an attribute", "values of attributes")
    OUT.print(f"{to}: {count_of(end.events, 'event')}, {changes}", soft_wrap=True)
