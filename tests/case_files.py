"""Reading the text cases of tests/cases; cases/README.txt describes the format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True, slots=True)
class Case:
    """One block of a case file: the text as typed and what is expected of it, line by line."""

    text: str
    expected: tuple[str, ...]


def cases(name: str) -> list[Any]:
    """The cases of a file as pytest parameters, named by file and line."""
    found, text, expected, first_line = list[Any](), list[str](), list[str](), 0
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], start=1):
        if line.startswith("#"):
            continue
        if line.startswith("=>"):
            expected.append(line.removeprefix("=>").strip())
        elif line.strip():
            first_line = first_line or number
            text.append(line)
        elif text:
            case = Case("\n".join(text), tuple(expected))
            found.append(pytest.param(case, id=f"{name}:{first_line}"))
            text, expected, first_line = [], [], 0
    return found
