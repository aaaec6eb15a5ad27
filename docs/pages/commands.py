"""Commands and their options, from the parser."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from cdp_router.cli.app import app
from docs.pages.page import Page


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command by its full name, itself and its context."""

    def below(name: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
        context = type(parent)(command, info_name=name, parent=parent) if parent else _context(command)
        yield name, command, context
        for inner, each in getattr(command, "commands", {}).items():
            yield from below(f"{name} {inner}", each, context)

    yield from below("cdp", typer.main.get_command(app), None)


def _context(command: Any) -> Any:
    return typer.Context(command, info_name="cdp")


def command_line() -> str:
    """Every command and option."""
    page = Page("Command line")
    page.say(
        "Every command takes `--help`. Commands talk to the router at 127.0.0.1:7400 unless `--address` or "
        "`CDP_ADDRESS` names another one. [Commands by example](../guide/commands.md)."
    )
    for name, command, context in commands():
        page.head(f"`{name}`", 3 if " " in name else 2)
        page.say(inspect.cleandoc(command.help or ""))
        own = [each.get_help_record(context) for each in command.params]
        rows = [(f"`{record[0]}`", record[1]) for record in own if record]
        if rows:
            page.table(("argument or option", "meaning"), rows)
    return page.text()
