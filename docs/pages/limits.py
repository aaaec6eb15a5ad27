"""Bounds, from the modules of limits."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import Final

from docs.pages.page import ROOT, Page

_LIMITS: Final = ("cdp_store.limits", "cdp_query.limits", "cdp_router.limits", "cdp_router.gateway.http_limits")
_UNITS: Final = frozenset(("KIB", "MIB"))


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound of a module: its group's comment, name, value and reason."""

    group: str
    name: str
    value: object
    reason: str


def limits_of(module: str) -> Iterator[Limit]:
    """The bounds of a module in order; a comment above some of them is their group's."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    comments = dict[int, str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
    lines, values, group, last = source.splitlines(), vars(import_module(module)), "", 0
    for node in ast.parse(source).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        end = node.end_lineno or node.lineno
        above = _comment_above(lines, node.lineno)
        if above or node.lineno > last + 1:
            group = above
        last = end
        if node.target.id not in _UNITS and isinstance(values[node.target.id], int | float):
            reason = " ".join(comments[line] for line in range(node.lineno, end + 1) if line in comments)
            yield Limit(group, node.target.id, values[node.target.id], reason)


def _comment_above(lines: Sequence[str], number: int) -> str:
    found = list[str]()
    while number > 1 and lines[number - 2].startswith("#"):
        number -= 1
        found.insert(0, lines[number - 1].lstrip("# "))
    return " ".join(found)


def _shown(limit: Limit) -> str:
    value = limit.value
    if isinstance(value, int) and "BYTES" in limit.name and value >= 1024 and value % 1024 == 0:
        power = max(power for power in (1, 2, 3) if value % 1024**power == 0)
        return f"{value // 1024**power:,} {('KiB', 'MiB', 'GiB')[power - 1]}"
    if limit.name.endswith("_MS") and isinstance(value, int) and 0 < value < 1 << 40:
        for size, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
            if value % size == 0:
                return f"{value:,} ({value // size} {'day' if (value // size, unit) == (1, 'days') else unit})"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def limits() -> str:
    """Every bound with its value and reason."""
    page = Page("Limits")
    page.say(
        "Every bound is a named constant in one module of its package. Names end in their unit (`_BYTES`, `_MS`, "
        "`_SECONDS`). Relations between bounds are checked when the module is imported."
    )
    for module in _LIMITS:
        page.head(f"`{module.replace('.', '/')}.py`")
        for group, own in groupby(limits_of(module), key=lambda each: each.group):
            if group:
                page.say(group)
            page.table(("name", "value", "reason"), ((f"`{each.name}`", _shown(each), each.reason) for each in own))
    return page.text()
