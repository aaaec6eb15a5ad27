"""Questions on the command line: a text, or a file with the JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from cdp.v1 import segment_pb2

from cdp_router.cli.ask.json_files import message_of
from cdp_router.cli.console import fail, text_of


@dataclass(frozen=True, slots=True)
class Cql:
    """A query in CleverTap's language, as JSON."""

    text: str


TreeFile = Annotated[
    Path | None,
    typer.Option("--tree", help="Read it from this file: JSON of cdp.v1.Question.", metavar="FILE"),
]
CqlFile = Annotated[
    Path | None, typer.Option("--cql", help="Read it from this file: JSON of CleverTap's CQL.", metavar="FILE")
]


def question_of(text: str, tree: Path | None, cql: Path | None) -> str | segment_pb2.Question | Cql:
    """The one of the three that is given."""
    if (text != "") + (tree is not None) + (cql is not None) != 1:
        fail("give one question: a text, --tree FILE or --cql FILE", 2)
    if cql is not None:
        return Cql(text_of(cql, "--cql"))
    if tree is None:
        return text
    return message_of(text_of(tree, "--tree"), segment_pb2.Question(), f"--tree {tree}", 2)


def segment_of(question: segment_pb2.Question) -> segment_pb2.Segment:
    """The segment of a question; ends the command for a report."""
    if question.WhichOneof("form") != "segment":
        fail("a segment is needed here, and this question is a report", 2)
    return question.segment
