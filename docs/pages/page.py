"""A page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_NOTICE: Final = "<!-- Written by docs/generate.py (`make docs`); never edited. -->"


@dataclass(slots=True)
class Page:
    """A page of Markdown."""

    title: str
    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A paragraph."""
        self.lines += ["", *wrapped(text)]

    def head(self, text: str, level: int = 2) -> None:
        """A heading."""
        self.lines += ["", f"{'#' * level} {text}"]

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table."""
        self.lines += ["", _row(heads), "|" + "---|" * len(heads), *map(_row, rows)]

    def text(self) -> str:
        """The whole page."""
        return "\n".join([f"# {self.title}", "", _NOTICE, *self.lines]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def wrapped(text: str, columns: int = 120) -> list[str]:
    """A text in lines of at most so many columns."""
    lines = [""]
    for word in text.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < columns else [lines[-1], word]
    return lines
