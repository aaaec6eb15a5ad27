"""`cdp dead-letters`: records that the gateway rejected, the reasons, and how to send them again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cdp_router.cli.console import DEFAULT_ADDRESS, ERR, OUT, Address, connected, echo_exact, fail
from cdp_router.cli.terminal_tables import Table
from cdp_router.cluster.topology import CLUSTER_NAME
from cdp_router.errors import RequestInvalid
from cdp_router.gateway.letters.dead_letters import (
    FOLDER,
    UNREADABLE,
    DeadLetters,
    directory_name,
    files_of,
    read_letters,
    replace_letters,
)
from cdp_router.gateway.letters.letter_sizes import lost
from cdp_router.printable import count_of
from cdp_router.security.keys.key_file import KEYS_NAME, read_keys
from cdp_store.errors import DirectoryDamaged
from cdp_store.outside.locks import folder_locked

dead_letters = typer.Typer(
    name="dead-letters", help="Records that the gateway rejected, with the reasons.", no_args_is_help=True
)
Data = Annotated[Path, typer.Option(help="Data directory of the gateway.")]
Source = Annotated[str, typer.Argument(help="The source, as `cdp dead-letters list` names it.", show_default=False)]
Code = Annotated[str | None, typer.Option(help="Only those with this code.", show_default=False)]


@dead_letters.command("list")
def list_(data: Data = Path("cdp-data")) -> None:
    """Count them by source and reason, with an example of each."""
    table, kept = Table(box=None, pad_edge=False), DeadLetters(_folder(data))
    for column in ("source", "code", "records", "example"):
        table.add_column(column)
    for directory in kept.sources():
        counts, examples, names = Counter[str](), dict[str, str](), dict[str, str]()
        for letter in kept.letters(directory):
            counts[letter.code] += 1
            examples.setdefault(letter.code, letter.message)
            names.setdefault(letter.code, letter.source)
        for code, count in counts.most_common():
            table.add_row(names[code], code, str(count), examples[code])
    for problem in kept.problems():
        ERR.print(problem, soft_wrap=True)
    if table.row_count:
        OUT.print(table)
    else:
        OUT.print("none")


@dead_letters.command("show")
def show(source: Source, data: Data = Path("cdp-data"), code: Code = None) -> None:
    """Print the records of a source, one JSON object per line, with code and message."""
    for letter in DeadLetters(data / FOLDER).letters(_directory(data, source)):
        if code in (None, letter.code):
            echo_exact(msgspec.json.encode(letter).decode())


@dead_letters.command("redrive")
def redrive_(
    source: Source,
    data: Data = Path("cdp-data"),
    code: Code = None,
    address: Address = DEFAULT_ADDRESS,
    keys: Annotated[
        Path | None,
        typer.Option(envvar="CDP_KEYS", help="The file of keys, for --anonymous-ids. [default: keys.json in --data]"),
    ] = None,
) -> None:
    """Send the records of a source again; those rejected again are kept. No record is accepted twice."""
    # Imported here, so that other commands do not load the gateway.
    from cdp_router.gateway.letters.redriving import redrive

    directory = _directory(data, source)
    taken = kept = unreadable = 0
    patterns = _patterns(data, keys)
    _tell_losses(directory)
    with connected(address) as client, folder_locked(directory):
        for path in DeadLetters(data / FOLDER).set_aside(directory):
            letters = list(read_letters(path))
            remaining = redrive(letters, client, code, patterns)
            unreadable += replace_letters(path, remaining)
            taken, kept = taken + len(letters) - len(remaining), kept + len(remaining)
    OUT.print(f"{count_of(taken, 'record was', 'records were')} taken, {kept:,} {'is' if kept == 1 else 'are'} kept")
    if unreadable:
        fail(f"{count_of(unreadable, 'line')} could not be read; kept in {directory / UNREADABLE}")


@dead_letters.command("drop")
def drop(source: Source, data: Data = Path("cdp-data"), code: Code = None) -> None:
    """Remove the records of a source for good; without --code also the lines that could not be read."""
    dropped, directory = 0, _directory(data, source)
    _tell_losses(directory)
    with folder_locked(directory):
        for path in DeadLetters(data / FOLDER).set_aside(directory):
            letters = list(read_letters(path))
            remaining = [letter for letter in letters if code not in (None, letter.code)]
            replace_letters(path, remaining)
            dropped += len(letters) - len(remaining)
        if code is None:
            (directory / UNREADABLE).unlink(missing_ok=True)
    OUT.print(f"{count_of(dropped, 'record was', 'records were')} dropped")


@dead_letters.command("forget")
def forget(
    identifiers: Annotated[list[str], typer.Argument(help="Identifiers of a person.", show_default=False)],
    data: Data = Path("cdp-data"),
) -> None:
    """Remove the records of a person here; `cdp erase` does so in the data directory of its router."""
    OUT.print(f"{count_of(DeadLetters(_folder(data)).forget(identifiers), 'record was', 'records were')} removed")


def _folder(data: Path) -> Path:
    """Folder of dead letters; any other directory must not look like one without dead letters."""
    if not (data / CLUSTER_NAME).exists() and not (data / FOLDER).exists():
        fail(f"{data} holds no cluster and no dead letters; give the --data of `cdp up` or of the gateway", 2)
    return data / FOLDER


def _tell_losses(directory: Path) -> None:
    """Reports losses before the list of existing files is rebuilt."""
    for problem in lost(directory):
        ERR.print(problem, soft_wrap=True)


def _patterns(data: Path, keys: Path | None) -> dict[str, str]:
    """Patterns of anonymous ids by source; the one of sources without a pattern of their own under ""."""
    from cdp_router.gateway.dialects.distinct_ids import pattern_of_environment

    path = keys or data / KEYS_NAME
    try:
        found = read_keys(path).values() if path.exists() else ()
        return {"": pattern_of_environment(), **{key.name: key.anonymous_ids for key in found if key.anonymous_ids}}
    except (DirectoryDamaged, RequestInvalid) as error:
        fail(str(error))


def _directory(data: Path, source: str) -> Path:
    directory = _folder(data) / directory_name(source)
    if not directory.exists() or not (files_of(directory) or lost(directory) or (directory / UNREADABLE).exists()):
        fail(f"source {source!r} has no dead letters in {data}; `cdp dead-letters list` names those that have")
    return directory
