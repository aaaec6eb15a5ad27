"""The last section of each room's README: what the room may import, from the contracts in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from docs.pages.page import ROOT, wrapped

PACKAGES: Final = ("cdp_router", "cdp_query", "cdp_store")
HEADING: Final = "## May import"
_BESIDE: Final = re.compile(r"\s*[|:]\s*")  # rooms of one layer


def readmes() -> dict[Path, str]:
    """The README of every room that has one, as it should be."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = dict[Path, str]()
    for package in PACKAGES:
        layers = _layers(contracts, package)
        for room in rooms(package):
            path = room / "README.md"
            if path.exists():
                before = path.read_text().partition(HEADING)[0]
                found[path] = f"{before}{HEADING}\n\n" + "\n".join(_said(contracts, layers, package, room.name)) + "\n"
    return found


def rooms(package: str) -> Iterator[Path]:
    """The folders of a package's rooms."""
    yield from (path.parent for path in sorted((ROOT / package).glob("*/__init__.py")))


def _layers(contracts: Sequence[Mapping[str, Any]], package: str) -> list[list[str]]:
    [own] = [each for each in contracts if each.get("containers") == [package]]
    return [_BESIDE.split(layer) for layer in own["layers"]]


def _said(
    contracts: Sequence[Mapping[str, Any]], layers: Sequence[Sequence[str]], package: str, room: str
) -> Iterator[str]:
    [at] = [number for number, layer in enumerate(layers) if room in layer]
    below = ", ".join(f"`{each}`" for layer in layers[at + 1 :] for each in layer)
    never = sorted(
        {
            module
            for each in contracts
            if each["type"] == "forbidden" and {package, f"{package}.{room}"} & {*each["source_modules"]}
            for module in each["forbidden_modules"]
        }
    )
    packages = [each for each in PACKAGES[PACKAGES.index(package) + 1 :] if each not in never]
    lower = f" Of the other packages: {' and '.join(f'`{each}`' for each in packages)}." if packages else ""
    forbidden = f" Never: {', '.join(f'`{each}`' for each in never)}." if never else ""
    yield from wrapped(f"Of `{package}`: {below or 'nothing'}.{lower}{forbidden}")
