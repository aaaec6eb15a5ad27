"""`cdp erase`: erases one person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from cdp.v1 import admin_pb2, query_pb2
from google.protobuf import json_format

from cdp_router.cli.console import DEFAULT_ADDRESS, ERR, OUT, Address, connected, fail
from cdp_router.printable import count_of
from cdp_store.ids import USER_ID


def erase(
    identifier: Annotated[str, typer.Argument(help="The user id.", metavar="ID", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ID is an anonymous id.")] = False,
    kind: Annotated[str, typer.Option(help="Kind of ID, such as email.")] = USER_ID,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Wait until no byte of it, or of any profile erased before, is in memory, log or snapshots.",
        ),
    ] = False,
    suppress: Annotated[
        bool, typer.Option("--suppress", help="Refuse later records under the person's identifiers.")
    ] = False,
    receipt: Annotated[Path | None, typer.Option(help="File for the receipt, as JSON.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase a person permanently: identifiers, attributes and events.

    The receipt lists the erased data and confirms that nothing is left. Ends with code 1 if there is no such person;
    with --purge or --suppress that is no error, because they may be repeated.
    """
    kind = "anonymous_id" if anonymous else kind
    if not yes and not typer.confirm(f"Erase {kind} {identifier} permanently?"):
        fail("nothing was erased")
    named = query_pb2.Identifier(kind=kind, value=identifier)
    with _receipt_to(receipt) as keep, connected(address) as client:
        done = client.erase(admin_pb2.EraseProfileRequest(other=named, purge=purge, suppress=suppress))
        keep(json_format.MessageToJson(done, preserving_proto_field_name=True))
    _show(done, f"{kind} {identifier}")
    found = [f"shard {scan.shard}: {place}" for scan in done.scans for place in scan.found]
    if found:
        fail(f"identifiers or texts of the person are still in {'; '.join(found)}: erase again")
    if not (done.erased or purge or suppress):
        fail(f"no profile has {kind} {identifier!r}")


@contextmanager
def _receipt_to(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Opens the file of the receipt before anything is erased, so that no erasure is left without its proof."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        fail(f"{path} exists already; name another file. Nothing was erased")
    except OSError as error:
        fail(f"{path}: cannot create the file for the receipt: {error.strerror}. Nothing was erased")
    with file:
        try:
            yield lambda text: _keep(text, file)
        finally:
            if not file.tell():
                path.unlink()


def _keep(text: str, file: TextIO) -> None:
    """Writes the receipt, or prints it if that fails."""
    try:
        file.write(text + "\n")
        file.flush()
    except OSError as error:
        OUT.print(text, markup=False, soft_wrap=True)
        ERR.print(f"warning: {file.name}: {error.strerror}; the receipt is printed instead", soft_wrap=True)


def _show(done: admin_pb2.EraseProfileResponse, named: str) -> None:
    if done.erased:
        OUT.print(f"forgotten: {named} (partition {done.partition}, sequence {done.sequence})")
    elif done.purges or done.suppressed:
        OUT.print(f"no profile has {named}")
    for each in done.partitions:
        what = ", ".join(
            (
                count_of(each.events, "event"),
                count_of(each.changes, "value of an attribute", "values of attributes"),
                count_of(each.bindings, "link"),
            )
        )
        OUT.print(f"partition {each.partition}, sequence {each.sequence}: {what}", soft_wrap=True)
    if done.suppressed:
        OUT.print(f"{count_of(done.suppressed, 'identifier is', 'identifiers are')} refused from now on")
    if done.dead_letters:
        OUT.print(f"{count_of(done.dead_letters, 'dead letter')} removed")
    if done.purges:
        OUT.print(_texts_told(done), soft_wrap=True)
    for purge in done.purges:
        segments = count_of(purge.snapshot.log_segments_removed, "log segment")
        removed = f"{count_of(purge.snapshots_removed, 'snapshot')} and {segments} removed"
        OUT.print(f"shard {purge.shard}: snapshot {purge.snapshot.number} written, {removed}", soft_wrap=True)
        for path in purge.untouched:
            OUT.print(f"shard {purge.shard}: set aside by a salvage and left unchanged: {path}", soft_wrap=True)
    if done.purges:
        OUT.print("Remove copies made elsewhere (`cdp snapshot --to`, directories that a restore replaced) yourself.")


def _texts_told(done: admin_pb2.EraseProfileResponse) -> str:
    shared = max((scan.shared_values for scan in done.scans), default=0)
    searched = f"checked {done.values_searched:,} of {count_of(done.values, 'value')}"
    return f"{searched}; at least {shared:,} also belong to other people and were kept" if shared else searched
