"""Write the pages of docs/reference that are read from the code; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from docs.pages.commands import command_line
from docs.pages.configuration import configuration
from docs.pages.errors import errors
from docs.pages.limits import limits
from docs.pages.metrics import metrics
from docs.pages.page import ROOT

REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "limits.md": limits,
    "configuration.md": configuration,
    "cli.md": command_line,
    "errors.md": errors,
    "metrics.md": metrics,
}


def stale() -> list[str]:
    """Names of pages that are not as the code has them."""
    return [
        name
        for name, make in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != make()
    ]


def main() -> None:
    """Write the pages, or with --check compare."""
    if "--check" in sys.argv:
        if found := stale():
            raise SystemExit(f"generated pages are out of date: {', '.join(found)}. Run: make docs")
        return
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())


if __name__ == "__main__":
    main()
