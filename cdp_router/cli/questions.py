"""Questions as the command line takes them: a text, or a file with the JSON form."""

from __future__ import annotations

from pathlib import Path

from cdp.v1 import segment_pb2
from google.protobuf import json_format

from cdp_router.cli.console import fail


def question_of(text: str, tree: Path | None) -> segment_pb2.Question | None:
    """The question of a file; None when the text is the question."""
    if bool(text) == (tree is not None):
        fail("give a question: either a text or --tree FILE", 2)
    if tree is None:
        return None
    try:
        return json_format.Parse(tree.read_text(encoding="utf-8"), segment_pb2.Question())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        fail(f"--tree {tree}: {error}", 2)
