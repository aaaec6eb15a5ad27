"""`cdp audit`: what was done by whom, as routers kept it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from cdp_router.cli.console import ERR, OUT, fail

if TYPE_CHECKING:
    from cdp_router.security.audit_lines import Entry
    from cdp_router.topology import ClusterFile

audit = typer.Typer(name="audit", help="Look into what was done by whom, and check it.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Directory of the data of a router.")]
DATA: Final = Path("cdp-data")


@audit.command()
def verify(data: Data = DATA) -> None:
    """Find lines that were changed, removed, or put elsewhere. Ends with code 1 where there are any."""
    from cdp_router.security.audit_check import check
    from cdp_router.security.cluster_secrets import AUDIT_CHAIN, derived

    secret, problems = derived(_cluster(data), AUDIT_CHAIN), 0
    for folder in _folders(data):
        found = check(folder, secret)
        for problem in found.problems:
            ERR.print(problem, soft_wrap=True)
        problems += len(found.problems)
        earlier = f" (those before {found.first} are in files that are not here)" if found.first > 1 else ""
        OUT.print(f"{folder.name}: {found.entries} entries, up to {found.last}{earlier}", soft_wrap=True)
    if problems:
        fail(f"the audit is not what was written: {problems} findings")


@audit.command()
def show(
    data: Data = DATA,
    last: Annotated[int, typer.Option(min=1, help="How many entries of each router, the latest.")] = 100,
    key: Annotated[str, typer.Option(help="Only those of this key, by id or name.")] = "",
    method: Annotated[str, typer.Option(help="Only those whose method contains this, such as Erase.")] = "",
    about: Annotated[str, typer.Option(help="Only those that name the person with this identifier.")] = "",
    kind: Annotated[str, typer.Option(help="With --about: the kind of the identifier.")] = "user_id",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per entry.")] = False,
) -> None:
    """Show entries, oldest first."""
    from cdp_router.security.audit import identifier_hash
    from cdp_router.security.cluster_secrets import AUDITED_PEOPLE, derived

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
    from cdp_router.security.audit_check import read_lines

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
    from cdp_router.topology import ClusterDirectory
    from cdp_store.errors import DirectoryDamaged

    directory = ClusterDirectory(data)
    if not directory.cluster_path.exists():
        fail(f"{data} holds no cluster; give the --data of `cdp up` or of a router", 2)
    try:
        return directory.load()
    except DirectoryDamaged as error:
        fail(str(error))


def _folders(data: Path) -> list[Path]:
    from cdp_router.security.audit_files import FOLDER

    root = data / FOLDER
    found = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not found:
        fail(f"there is no audit at {root}; it begins with the first call once there are API keys")
    return found
