"""`cdp audit`: actions and their keys, as routers recorded them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from cdp_router.cli.console import ERR, OUT, fail

if TYPE_CHECKING:
    from cdp_router.cluster.topology import ClusterFile
    from cdp_router.security.audit.audit_lines import Entry

audit = typer.Typer(name="audit", help="Show and check the record of actions and their keys.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Directory of the data of a router.")]
DATA: Final = Path("cdp-data")
FOLDER: Final = "audit"


@audit.command()
def verify(
    data: Data = DATA,
    expect: Annotated[
        list[str] | None,
        typer.Option(help="Output of an earlier check, such as router/9/HASH; may be given several times."),
    ] = None,
) -> None:
    """Find lines that were changed, removed, or moved. Ends with code 1 if there are any.

    Keep the output in a place that nobody with access to this directory can write: given as --expect, it reveals
    whether all files were put back to an earlier state together.
    """
    from cdp_router.security.audit.audit_check import check
    from cdp_router.security.tls.cluster_secrets import AUDIT_CHAIN, derived

    secret, problems, expected = derived(_cluster(data), AUDIT_CHAIN), _missing(data), _expected(expect or ())
    folders = [] if problems and not (data / FOLDER).is_dir() else _folders(data)
    problems += [f"there is no audit of {name}" for name in expected if name not in {each.name for each in folders}]
    for folder in folders:
        found = check(folder, secret, expected.get(folder.name))
        problems += found.problems
        earlier = f" (those before {found.first} are in files that are not here)" if found.first > 1 else ""
        OUT.print(f"{folder.name}: {found.entries} entries, up to {found.last}{earlier}", soft_wrap=True)
        OUT.print(f"  --expect {folder.name}/{found.last}/{found.last_hash}", soft_wrap=True)
    for problem in problems:
        ERR.print(problem, soft_wrap=True)
    if problems:
        fail(f"the audit was changed: {len(problems)} findings")


def _missing(data: Path) -> list[str]:
    """Folders and anchors of the audit that are in the directory's list, and that were removed."""
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_store.errors import DirectoryDamaged

    try:
        found = ClusterDirectory(data).missing()
    except DirectoryDamaged as error:
        return [str(error)]
    return [f"{data / name} was removed" for name in found if name.startswith(FOLDER)]


def _expected(given: Sequence[str]) -> dict[str, dict[int, str]]:
    """Hashes by folder and number."""
    found = dict[str, dict[int, str]]()
    for each in given:
        parts = each.split("/")
        if len(parts) != 3 or not parts[1].isdecimal():
            fail(f"--expect {each!r} is not in the form that `cdp audit verify` prints, such as router/9/HASH", 2)
        found.setdefault(parts[0], {})[int(parts[1])] = parts[2]
    return found


@audit.command()
def show(
    data: Data = DATA,
    last: Annotated[int, typer.Option(min=1, help="Number of entries of each router, the latest ones.")] = 100,
    key: Annotated[str, typer.Option(help="Only entries of this key, by id or name.")] = "",
    method: Annotated[str, typer.Option(help="Only entries whose method contains this, such as Erase.")] = "",
    about: Annotated[str, typer.Option(help="Only entries that name the person with this identifier.")] = "",
    kind: Annotated[str, typer.Option(help="With --about: the kind of the identifier.")] = "user_id",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per entry.")] = False,
) -> None:
    """Show entries, oldest first."""
    from cdp_router.security.audit.audit import identifier_hash
    from cdp_router.security.tls.cluster_secrets import AUDITED_PEOPLE, derived

    cluster = _cluster(data)
    wanted = identifier_hash(derived(cluster, AUDITED_PEOPLE), kind, about) if about else ""
    for folder in _folders(data):
        entries = (
            entry
            for entry in _entries(folder)
            if (not key or key in (entry.key, entry.name))
            and method in entry.method
            and wanted in str(entry.facts.get("people", ""))
        )
        for entry in deque(entries, maxlen=last):
            OUT.print(_told(entry, folder.name, as_json=as_json), soft_wrap=True)


def _entries(folder: Path) -> Iterator[Entry]:
    from cdp_router.security.audit.audit_check import read_lines

    for where, _, line in read_lines(folder):
        if line is None:
            ERR.print(f"{where} is no entry; see `cdp audit verify`", soft_wrap=True)
        else:
            yield line.entry


def _told(entry: Entry, router: str, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode({**msgspec.to_builtins(entry), "router": router}).decode()
    who = f"{entry.key} ({entry.name})" if entry.key else "no key"
    facts = " ".join(f"{name}={value}" for name, value in entry.facts.items())
    return f"{entry.number} {entry.at} {who} {entry.method} {entry.outcome} {facts}".rstrip()


def _cluster(data: Path) -> ClusterFile:
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_store.errors import DirectoryDamaged

    directory = ClusterDirectory(data)
    if not directory.cluster_path.exists():
        fail(f"{data} holds no cluster; give the --data of `cdp up` or of a router", 2)
    try:
        return directory.load()
    except DirectoryDamaged as error:
        fail(str(error))


def _folders(data: Path) -> list[Path]:
    from cdp_router.security.audit.audit_files import ANCHORS

    root = data / FOLDER
    found = sorted(path for path in root.iterdir() if path.is_dir() and path.name != ANCHORS) if root.is_dir() else []
    if not found:
        fail(f"there is no audit at {root}; it begins with the first call once there are API keys")
    return found
