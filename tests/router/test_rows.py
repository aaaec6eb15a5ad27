"""Every failure that must be survived, by its number in the table, has a test that carries the number in its name."""

from __future__ import annotations

import re
from pathlib import Path

ROWS = 24
_NAME = re.compile(r"^\s*def test_rows?_((?:\d\d_(?:and_)?)+)", re.MULTILINE)


def test_every_row_has_a_test_named_after_it() -> None:
    sources = [path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py")]
    named = {
        int(number) for source in sources for found in _NAME.findall(source) for number in re.findall(r"\d\d", found)
    }
    assert named == set(range(1, ROWS + 1))
