"""Write the documents that are read from the code: pages of docs/reference, and what each room may import.

`--check` only says whether they are up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docs.pages.commands import command_line
from docs.pages.configuration import configuration
from docs.pages.errors import errors
from docs.pages.http import http
from docs.pages.limits import limits
from docs.pages.metrics import metrics
from docs.pages.page import ROOT
from docs.pages.rooms import readmes

REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "limits.md": limits,
    "configuration.md": configuration,
    "cli.md": command_line,
    "errors.md": errors,
    "http.md": http,
    "metrics.md": metrics,
}


def documents() -> dict[Path, str]:
    """Every generated document as it should be."""
    return {REFERENCE / name: make() for name, make in PAGES.items()} | readmes()


def stale() -> list[str]:
    """Names of documents that are not as the code has them."""
    wanted = documents().items()
    return [str(path.relative_to(ROOT)) for path, text in wanted if not path.exists() or path.read_text() != text]


def main() -> None:
    """Write the documents, or with --check compare."""
    if "--check" in sys.argv:
        if found := stale():
            raise SystemExit(f"generated documents are out of date: {', '.join(found)}. Run: make docs")
        return
    for path, text in documents().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
