"""Rules of the source that no linter knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[1]
_PACKAGES: Final = ("cdp_router", "cdp_query", "cdp_store")
_FOLDERS: Final = (*_PACKAGES, "benchmarks", "examples", "tests")
_LINES_MAX: Final = 400  # of a module, so that it is read in one go; the generated ones lie in proto/
# Both go through a float, which has no exact form for most instants: `cdp_store.values` has integer functions.
_FLOAT_TIMES: Final = re.compile(r"\.timestamp\(\)|fromtimestamp\(.*/")


# The package index has a project of another author under this name.
_FOREIGN_INSTALL: Final = re.compile(r"pip install\s[^\n`]*?\bcdp\b(?!/)")


def _sources(folders: tuple[str, ...] = _FOLDERS) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((_ROOT / folder).rglob("*.py"))


def _float_times(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if _FLOAT_TIMES.search(line)]


def _line_count(path: Path) -> int:
    return path.read_text().count("\n")


def test_no_module_of_the_packages_is_too_long() -> None:
    long = {path.name: _line_count(path) for path in _sources(_PACKAGES) if _line_count(path) > _LINES_MAX}
    assert not long, f"split modules of more than {_LINES_MAX} lines"


def test_no_source_takes_an_instant_through_a_float() -> None:
    sources = [path for path in _sources() if path != Path(__file__)]
    assert len(sources) > 300
    found = {str(path.relative_to(_ROOT)): lines for path in sources if (lines := _float_times(path.read_text()))}
    assert not found, "use to_ms and to_datetime of cdp_store.values"


def test_nothing_tells_readers_to_install_a_package_of_another_author() -> None:
    texts = [*_ROOT.glob("*.md"), *_ROOT.glob("examples/**/*.md"), *_sources((*_PACKAGES, "benchmarks", "examples"))]
    assert _ROOT / "README.md" in texts
    assert not [str(path) for path in texts if _FOREIGN_INSTALL.search(path.read_text())], "install '.' in a clone"


@pytest.mark.parametrize("line", ["pip install 'cdp[traces]'", "pip install cdp", "pip install -U cdp==1"])
def test_the_rule_of_packages_finds_what_it_forbids(line: str) -> None:
    assert _FOREIGN_INSTALL.search(line) and not _FOREIGN_INSTALL.search(line.replace("cdp", "."))


@pytest.mark.parametrize(
    "line", ["int(instant.timestamp() * 1000)", "at = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)"]
)
def test_the_rule_finds_what_it_forbids(line: str) -> None:
    assert _float_times(f"x = 1\n    {line}\n") == [line]
