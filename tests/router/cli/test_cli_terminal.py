"""Nothing that comes from data controls a terminal: every command prints through one console, which shows controls."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import sys
import typing
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree
from typer.testing import CliRunner

import cdp_router.cli
from cdp_router.cli import console
from cdp_router.cli.app import app
from cdp_router.cli.console import ExactOutput, SafeConsole, echo_exact, plain
from cdp_router.cli.terminal_tables import Table
from cdp_router.client import Client
from cdp_router.observing.logs import JsonLines, TextLines
from cdp_router.printable import visible

HOSTILE: Final = "a\x1b[31mred\x07\x9b2J\x85\x7f\u202eevil\u2066\x00b\nforged"
_BAD: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
FOLDER: Final = Path(cdp_router.cli.__file__).parent


def _printed(*things: Any) -> str:
    out = io.StringIO()
    safe = SafeConsole(file=out, width=200, highlight=False, markup=False, emoji=False)
    for thing in things:
        safe.print(thing)
    return out.getvalue()


def _things(text: str) -> list[Any]:
    table = Table(text, "b", title=text)
    table.add_row(text, Text(text))
    tree = Tree(Text(text))
    tree.add(text)
    return [text, f"error: {text}", Text(text), table, tree, Panel(text, title=text)]


@given(st.text(st.characters() | st.sampled_from("\x00\x1b\x7f\x85\x9b\u202e\u2066\r\n\t\ud800")))
def test_no_control_character_is_printed_whatever_it_stands_in(text: str) -> None:
    for thing in _things(text):
        found = _printed(thing)
        assert not _BAD.search(found)
        found.encode()
    assert not _BAD.search(plain(text)) and "\n" not in plain(text)
    for character in visible(text):
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def test_json_stays_what_it_is() -> None:
    value = {"name": HOSTILE, "list": ["\x9b", "\u202e", "ü", "\n"]}
    for dumped in (json.dumps(value, ensure_ascii=False), json.dumps(value)):
        assert json.loads(_printed(Text(dumped)).replace("\n", "")) == value


def test_what_programs_read_is_exact_in_a_pipe_and_visible_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_terminal, shown in ((False, HOSTILE), (True, visible(HOSTILE, lines=True))):
        monkeypatch.setattr(sys.stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
        echo_exact(HOSTILE)
        ExactOutput().write(HOSTILE)
        assert capsys.readouterr().out == f"{shown}\n{shown}"


def test_commands_print_in_no_other_way() -> None:
    """`print`, `typer.echo`, consoles and streams of their own would go round it."""
    allowed = {("app.py", "echo"), ("by_hand.py", "stdout")}
    found = set[tuple[str, str]]()
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="print" | "Console" as name)):
                    found.add((path.name, name))
                case ast.Attribute(value=ast.Name(id="typer"), attr="echo" | "secho" as name):
                    found.add((path.name, name))
                case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" as name):
                    found.add((path.name, name))
    assert {each for each in found if each[0] != "console.py"} <= allowed


def test_tables_are_of_the_kind_that_keeps_a_text_in_its_line() -> None:
    found = {path.name for path in FOLDER.glob("*.py") if "rich.table" in path.read_text()}
    assert not found
    table = Table("a")
    table.add_row("one\ntwo")
    assert "one\\u000atwo" in _printed(table)


def test_a_line_of_the_log_cannot_be_forged() -> None:
    record = logging.makeLogRecord({"msg": "source %s", "args": (HOSTILE,), "table": HOSTILE})
    for formatter in (TextLines(), JsonLines()):
        line = formatter.format(record)
        assert "forged" in line and "\n" not in line and not _BAD.search(line)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record.exc_info = sys.exc_info()
    assert not _BAD.search(TextLines().format(record)) and "Traceback" in TextLines().format(record)


# ---------------------------------------------------------------------------------------------------------- commands


def _fill(message: Any, depth: int = 0) -> Any:
    """A message with a hostile text in every place for one."""
    chosen = set[str]()
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and oneof.name in chosen:
            continue
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
            getattr(message, field.name).append(HOSTILE) if field.is_repeated else setattr(message, field.name, HOSTILE)
            chosen |= {oneof.name} if oneof is not None else set()
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and depth < 5:
            _fill_message(message, field, depth)
            chosen |= {oneof.name} if oneof is not None else set()
    return message


def _fill_message(message: Any, field: FieldDescriptor, depth: int) -> None:
    place = getattr(message, field.name)
    if field.message_type.full_name.startswith("google.protobuf"):
        return
    if field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        if value.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            _fill(place[HOSTILE], depth + 1)
    elif field.is_repeated:
        _fill(place.add(), depth + 1)
    else:
        _fill(place, depth + 1)


class _Hostile:
    """A client whose every answer is full of controls."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kind = typing.get_type_hints(getattr(Client, name)).get("return")
        of = [each for each in (kind, *typing.get_args(kind)) if isinstance(each, type) and issubclass(each, Message)]
        answers = [_fill(each()) for each in of]
        is_one = isinstance(kind, type) and issubclass(kind, Message)
        return lambda *_, **__: answers[0] if is_one else iter(answers)


COMMANDS: Final = [
    ["profile", "u"],
    ["profile", "u", "--origins"],
    ["profile", "u", "--json"],
    ["identity", "u"],
    ["identity", "u", "--json"],
    ["explain-user", "u", "everyone"],
    ["query", "everyone", "--explain"],
    ["query", "everyone", "--by", "plan"],
    ["query", 'funnel("A" -> "B", within: 1d)'],
    ["segment", "list"],
    ["segment", "show", "x"],
    ["schema", "discover"],
    ["schema", "show"],
    ["quarantine", "list"],
    ["privacy", "show"],
    ["suppressions", "list"],
    ["retention"],
    ["status"],
    ["status", "--names"],
    ["placements"],
    ["verify"],
    ["snapshot"],
    ["digest"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_lets_an_answer_control_the_terminal(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(_: str) -> Iterator[_Hostile]:
        yield _Hostile()

    list(typer.main.get_command(app).commands.values())  # loads their modules
    for module in [each for name, each in sys.modules.items() if name.startswith("cdp_router.cli.")]:
        if hasattr(module, "connected"):
            monkeypatch.setattr(module, "connected", connected)
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 2 and isinstance(done.exception, SystemExit | None), "it is asked as it should be"
    assert not _BAD.search(done.output), done.output
    if words != ["segment", "show", "x"]:  # it shows a text in the lines in which it was written
        assert not any(line.lstrip(" │").startswith("forged") for line in done.output.splitlines()), done.output


@pytest.mark.parametrize(
    "words", [["profile", "u"], ["identity", "u"], ["explain-user", "u", "everyone"]], ids=" ".join
)
def test_names_and_values_are_shown_with_their_controls(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    test_no_command_lets_an_answer_control_the_terminal(words, monkeypatch)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "\\u001b[31mred" in done.output


def test_errors_and_warnings_are_shown_with_their_controls(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="1"):
        console.fail(HOSTILE)
    assert "\\u001b[31mred" in capsys.readouterr().err
