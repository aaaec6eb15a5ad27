"""Every rule of docs/reference/semantics.md names the tests that hold it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent
_PAGE = _TESTS.parent / "docs" / "reference" / "semantics.md"
_NAMED = re.compile(r"<!-- Tests: (.*?) -->", re.DOTALL)
_RULE = re.compile(r"^(?=- |\d\. |\| (?:text|predicate) \|)", re.MULTILINE)  # a bullet, a number, the head of a table


def _rules(page: str) -> Iterator[tuple[str, str]]:
    """Each rule with its first line; a section without bullets, numbers and tables is one rule."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        opening, *rules = _RULE.split(text)
        for rule in rules or [opening]:
            yield f"{title}: {rule.splitlines()[0]}", rule


def _without_test(page: str) -> list[str]:
    return [name for name, rule in _rules(page) if not _NAMED.search(rule)]


@cache
def _written_tests() -> dict[str, set[str]]:
    """Names of the tests there are, by base name of their file."""
    found = defaultdict[str, set[str]](set)
    for path in _TESTS.rglob("test_*.py"):
        functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
        found[path.name].update(each.name for each in functions if each.name.startswith("test_"))
    return found


def _named_tests(page: str) -> list[tuple[str, str]]:
    names = [name.strip() for listed in _NAMED.findall(page) for name in listed.split(",")]
    return [(file, test) for file, _, test in (name.partition("::") for name in names)]


def _lost_tests(page: str) -> list[str]:
    written = _written_tests()
    return [f"{file}::{test}" for file, test in _named_tests(page) if test not in written.get(file, ())]


def test_every_rule_names_a_test() -> None:
    page = _PAGE.read_text()
    assert len(list(_rules(page))) > 60
    assert not _without_test(page), "name the tests of these rules"


def test_every_test_that_a_rule_names_is_there() -> None:
    page = _PAGE.read_text()
    assert len(_named_tests(page)) > 150
    assert not _lost_tests(page), "these tests do not exist"


@pytest.mark.parametrize(
    "page",
    [
        "## 1. One\n- a rule\n- another\n  <!-- Tests: test_semantics.py::test_every_rule_names_a_test -->\n",
        "## 1. One\n1. a rule\n## 2. Two\n<!-- Tests: test_tidy.py::test_y -->\n",
        "## 1. One\n| text | interval |\n|---|---|\n\n## 2. Two\n<!-- Tests: test_tidy.py::test_y -->\n",
        "## 1. One\nWords alone.\n",
    ],
)
def test_a_rule_without_a_test_is_found(page: str) -> None:
    assert len(_without_test(page)) == 1


def test_a_test_that_is_gone_is_found() -> None:
    page = "<!-- Tests: test_tidy.py::test_no_room_is_crowded, test_semantics.py::test_gone, test_tidy.py::test_n -->"
    assert _lost_tests(page) == ["test_semantics.py::test_gone", "test_tidy.py::test_n"]
