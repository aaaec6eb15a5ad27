"""Tables of commands."""

from __future__ import annotations

from typing import Any

from rich import table
from rich.console import RenderableType

from cdp_router.printable import visible


class Table(table.Table):
    """A table in which a text from data stays inside its line: one with an end of line would look like another row."""

    def add_row(self, *cells: RenderableType | None, **named: Any) -> None:
        """Adds a row; a cell with intended lines is a `Text`."""
        super().add_row(*(visible(cell) if isinstance(cell, str) else cell for cell in cells), **named)
