"""Rules of the source that no linter knows."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[1]
_PACKAGES: Final = ("cdp_router", "cdp_query", "cdp_store")
_FOLDERS: Final = (*_PACKAGES, "benchmarks", "examples", "tests")
_LOOSE_MAX: Final = 7
_ROOM_MODULES_MAX: Final = 25
_README_LINES_MAX: Final = 40
_DOCUMENT_COLUMNS: Final = 120
_LINK: Final = re.compile(r"\]\(([^)\s:]+)\)")  # to a file here, not to a site
_MENTION: Final = re.compile(r"(?<![\w/.<{*()-])((?:[\w-]+/)*[\w-]+\.(?:py|md))\b(?!\()")
_LINES_MAX: Final = 400  # of a module, so that it is read in one go; the generated ones lie in proto/
_FUNCTION_LINES_MAX: Final = 70  # of a function from its name on, decorators apart
# Both go through a float, which has no exact form for most instants: `cdp_store.values` has integer functions.
_FLOAT_TIMES: Final = re.compile(r"\.timestamp\(\)|fromtimestamp\(.*/")


# Where order, races and layouts are subtle, comments say why the code is as it is.
_SUBTLE: Final = (
    *("cdp_store/kernels", "cdp_query/kernels", "cdp_store/partition", "cdp_store/shard", "cdp_store/log"),
    *("cdp_router/shard", "cdp_router/shard/moves"),
)
_COMMENTS_MIN: Final = 0.04  # of the lines that are not blank

# A docstring names its subject or says what it does: "Mask of the rows that ..." and not "Which rows ...".
_QUESTION_WORDS: Final = frozenset(("What", "Which", "Who", "Whom", "Whose", "Where", "Whether", "When", "How", "Why"))

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


def _long_functions(module: ast.Module) -> list[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(module) if isinstance(node, functions)]
    return [each.name for each in found if (each.end_lineno or 0) - each.lineno >= _FUNCTION_LINES_MAX]


def test_no_function_of_the_packages_is_too_long() -> None:
    long = {path: names for path, (names, _) in _parsed().items() if names}
    assert not long, f"divide functions of more than {_FUNCTION_LINES_MAX} lines"


@cache
def _parsed() -> dict[str, tuple[list[str], list[str]]]:
    """(long functions, docstrings like questions) of each source of the packages: both rules in one reading."""
    found = dict[str, tuple[list[str], list[str]]]()
    for path in _sources(_PACKAGES):
        module = ast.parse(path.read_text())
        found[str(path.relative_to(_ROOT))] = _long_functions(module), _question_docstrings(module)
    return found


@pytest.mark.parametrize("head", ["def f():", "async def f():", "class C:\n  def f(self):"])
def test_the_rule_of_functions_finds_what_it_forbids(head: str) -> None:
    lines = "    x = 1\n"
    assert _long_functions(ast.parse(f"{head}\n" + lines * _FUNCTION_LINES_MAX)) == ["f"]
    assert not _long_functions(ast.parse(f"{head}\n" + lines * (_FUNCTION_LINES_MAX - 1)))


def _comment_share(texts: Iterable[str]) -> float:
    """Lines with a comment among those that are not blank; remarks to linters and type checkers are none."""
    lines = comments = 0
    for text in texts:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        said = [token for token in tokens if token.type == tokenize.COMMENT]
        comments += sum(not re.match(r"# (?:type:|noqa|fmt:)", token.string) for token in said)
        lines += sum(bool(line.strip()) for line in text.splitlines())
    return comments / lines


def test_subtle_rooms_say_why() -> None:
    shares = {room: _comment_share(path.read_text() for path in (_ROOT / room).glob("*.py")) for room in _SUBTLE}
    silent = {room: f"{share:.1%}" for room, share in shares.items() if share < _COMMENTS_MIN}
    assert not silent, "say why this order, which race it prevents, what a format relies on"


def test_the_share_of_comments_counts_comments_alone() -> None:
    assert _comment_share(['x = 1\n\ny = "# 2"  # fmt: skip\n']) == 0
    assert _comment_share(["x = 1  # why\n\ny = 2\n", "# why\nz = 3\n"]) == 0.5


def _rooms() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from (init.parent for init in sorted((_ROOT / package).rglob("__init__.py")))


def _modules(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]


def test_the_root_of_a_package_holds_few_modules() -> None:
    loose = {package: _modules(_ROOT / package) for package in _PACKAGES}
    assert {package: found for package, found in loose.items() if len(found) > _LOOSE_MAX} == {}, "give them rooms"


def test_no_room_is_crowded() -> None:
    rooms = {str(room.relative_to(_ROOT)): len(_modules(room)) for room in _rooms()}
    assert {room: count for room, count in rooms.items() if count > _ROOM_MODULES_MAX} == {}, "divide the room"


def _double_names(modules: Iterable[Path]) -> dict[str, list[str]]:
    """Base names that several modules of a package have."""
    found = defaultdict[str, list[str]](list)
    for path in modules:
        if path.name not in ("__init__.py", "__main__.py"):
            found[path.name].append(str(path))
    return {name: paths for name, paths in found.items() if len(paths) > 1}


@pytest.mark.parametrize("package", _PACKAGES)
def test_base_names_of_modules_are_unique_inside_a_package(package: str) -> None:
    modules = [path.relative_to(_ROOT) for path in _sources((package,))]
    assert len(modules) > 100
    assert not _double_names(modules), "say in the name what each of them holds"


def test_every_room_says_what_it_is_for() -> None:
    silent = [str(room) for room in _rooms() if not (room / "__init__.py").read_text().startswith('"""')]
    assert not silent, "a room's __init__.py begins with a sentence about it"


def _question_docstrings(module: ast.Module) -> list[str]:
    """First lines of the docstrings that begin like a question."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(module) if isinstance(node, documented)]
    first_lines = [docstring.partition("\n")[0] for docstring in docstrings]
    return [line for line in first_lines if re.split(r"\W", line, maxsplit=1)[0] in _QUESTION_WORDS]


def test_docstrings_do_not_begin_like_questions() -> None:
    assert len(_parsed()) > 300
    found = {path: lines for path, (_, lines) in _parsed().items() if lines}
    assert not found, "begin with a verb in the third person, or with a noun of the domain"


def _rooms_without_readme(rooms: Sequence[Path]) -> list[str]:
    readmes = {room.name: room / "README.md" for room in rooms}
    return [name for name, path in readmes.items() if not path.exists() or _line_count(path) > _README_LINES_MAX]


def test_every_room_has_a_short_readme() -> None:
    rooms = [init.parent for package in _PACKAGES for init in (_ROOT / package).glob("*/__init__.py")]
    assert len(rooms) > 40
    assert not _rooms_without_readme(rooms), f"what it is, where to start: at most {_README_LINES_MAX} lines"


def _documents() -> list[Path]:
    folders = ("docs", "examples", *_PACKAGES)
    written = [_ROOT / "benchmarks" / "RESULTS.md", _ROOT / "benchmarks" / "data" / "README.md"]
    return [*_ROOT.glob("*.md"), *written, *(path for folder in folders for path in (_ROOT / folder).rglob("*.md"))]


def _long_lines(text: str) -> list[str]:
    """Lines that do not fit a screen; rows of tables cannot be broken."""
    return [line for line in text.splitlines() if len(line) > _DOCUMENT_COLUMNS and not line.lstrip().startswith("|")]


def test_documents_fit_a_screen() -> None:
    documents = _documents()
    assert len(documents) > 10
    long = {str(path.relative_to(_ROOT)): lines for path in documents if (lines := _long_lines(path.read_text()))}
    assert not long, f"break lines at {_DOCUMENT_COLUMNS} characters"


def _lost_links(document: Path, text: str) -> list[str]:
    """Links to files or headings that are not there."""
    lost = list[str]()
    for link in _LINK.findall(text):
        name, _, heading = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (heading and heading not in _headings(target.read_text())):
            lost.append(link)
    return lost


def _headings(text: str) -> set[str]:
    """Headings as links name them."""
    found = (line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in found}


def test_every_link_of_a_document_leads_somewhere() -> None:
    texts = {document: document.read_text() for document in _documents()}
    assert sum(len(_LINK.findall(text)) for text in texts.values()) > 100
    lost = {str(path.relative_to(_ROOT)): found for path, text in texts.items() if (found := _lost_links(path, text))}
    assert not lost, "these links lead nowhere"


def _mentioned(text: str) -> set[str]:
    return set(_MENTION.findall(text))


def test_every_file_that_is_mentioned_is_there() -> None:
    folders = ("docs", ".ci", *_FOLDERS)
    there = [path.relative_to(_ROOT).as_posix() for folder in folders for path in (_ROOT / folder).rglob("*.*")]
    there += [path.name for path in _ROOT.glob("*.*")]
    readers = [*_documents(), *(path for path in _sources() if path != Path(__file__))]
    lost = {
        str(path.relative_to(_ROOT)): found
        for path in readers
        if (found := {name for name in _mentioned(path.read_text()) if not _is_there(name, there)})
    }
    assert not lost, "these files do not exist"


def _is_there(name: str, there: list[str]) -> bool:
    return any(path == name or path.endswith(f"/{name}") for path in there)


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        (_long_lines, "x" * 121),
        (_mentioned, "see gone.py for why"),
        (lambda text: _question_docstrings(ast.parse(text)), 'def f():\n    """Whether it holds."""\n'),
        (lambda text: _lost_links(_ROOT / "README.md", text), "[why](docs/gone.md)"),
        (lambda text: _lost_links(_ROOT / "README.md", text), "[why](ARCHITECTURE.md#gone)"),
        (lambda text: _rooms_without_readme([_ROOT / text]), "proto"),
        (lambda text: _double_names([Path("cdp_store/log") / text, Path("cdp_store/snapshot") / text]), "reader.py"),
        (lambda text: not _is_there("gone.py", ["cdp_store/here.py", text]), "cdp_store/begone.py"),
    ],
)
def test_the_rules_of_documents_find_what_they_forbid(rule: Callable[[str], object], broken: str) -> None:
    assert rule(broken)


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


def test_tests_mirror_the_rooms() -> None:
    """Each folder of tests of a package is named after a room; tests of several rooms stand beside the folders."""
    for package in _PACKAGES:
        folder = _ROOT / "tests" / package.removeprefix("cdp_")
        own = {init.parent.name for init in folder.glob("*/__init__.py")}
        assert own and not own - {init.parent.name for init in (_ROOT / package).glob("*/__init__.py")}, package
