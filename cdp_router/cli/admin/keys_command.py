"""`cdp keys`: API keys and their roles."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer
from rich.text import Text

from cdp_router.cli.console import ERR, OUT, fail, parse_instant
from cdp_router.cli.terminal_tables import Table
from cdp_router.rpc.principal import Role
from cdp_store.outside.seams import SystemClock
from cdp_store.values import to_datetime, to_ms

if TYPE_CHECKING:
    from cdp_router.security.keys.key_file import Keys
    from cdp_router.security.keys.key_list import KeyList
    from cdp_router.security.keys.keys import StoredKey
    from cdp_store.directory.inventory import ListedFile

keys = typer.Typer(name="keys", help="Make, list, replace and revoke API keys.", no_args_is_help=True)

_MINUTE_MS: Final = 60_000
_UNITS_MS: Final = {"h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
Data = Annotated[Path, typer.Option(help="Directory of the cluster's data.")]
File = Annotated[
    Path | None,
    typer.Option("--keys", envvar="CDP_KEYS", help="The file of keys. [default: keys.json in the data directory]"),
]
Expires = Annotated[
    str | None, typer.Option("--expires", help="When the key ends: a date, a time, or a span such as 90d.")
]
Calls = Annotated[float | None, typer.Option(min=0.001, help="Calls above it are refused. [default: any number]")]
Events = Annotated[float | None, typer.Option(min=0.001, help="Records above it are refused. [default: any number]")]
AnonymousIds = Annotated[
    str | None,
    typer.Option(help="PostHog ids that match this regular expression belong to visitors, such as '^shopper-'."),
]
Which = Annotated[str, typer.Argument(help="Id of the key, or a name that only one key in use has.", metavar="KEY")]
Name = Annotated[str, typer.Argument(help="Person or program that uses the key.", show_default=False)]
DATA: Final = Path("cdp-data")
Result = TypeVar("Result")


@keys.command()
def create(
    name: Name,
    role: Annotated[list[Role], typer.Option("--role", help="A role of the key; may be given several times.")],
    data: Data = DATA,
    file: File = None,
    expires: Expires = None,
    calls_per_second: Calls = None,
    events_per_second: Events = None,
    anonymous_ids: AnonymousIds = None,
    first: Annotated[
        bool, typer.Option("--first", help="Make the cluster's first key even though it lacks the role admin.")
    ] = False,
) -> None:
    """Make a key and print it: it is shown only this once. From the first key on, every call needs one."""
    now_ms = SystemClock().now_ms()
    expires_ms = _instant_ms(expires, now_ms)
    limits, pattern = (calls_per_second, events_per_second), _pattern(anonymous_ids) or ""

    def make(known: KeyList) -> tuple[str, bool]:
        if is_first := known.is_empty:
            _check_first(role, data, now_ms, is_accepted=first)
        return known.create(name, role, now_ms, expires_ms, *limits, pattern), is_first

    made, is_first = _changed(data, file, make)
    _show(made)
    if is_first:
        _say_what_changes(data, now_ms)


@keys.command("list")
def list_keys(
    data: Data = DATA,
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List keys, without their secrets."""
    from cdp_router.security.keys.key_list import listed

    now_ms, found = SystemClock().now_ms(), _read(data, file)
    if as_json:
        OUT.print(Text(listed(found, now_ms)), soft_wrap=True)
        return
    table = Table("id", "name", "roles", "state", "created (UTC)", "expires (UTC)", "limits", box=None, pad_edge=False)
    for key in found.values():
        roles = " ".join(key.roles)
        table.add_row(
            key.id, key.name, roles, key.state(now_ms), _shown(key.created_ms), _shown(key.expires_ms), _limits(key)
        )
    OUT.print(table)


@keys.command()
def revoke(
    which: Which,
    data: Data = DATA,
    file: File = None,
) -> None:
    """End a key for good. Routers apply it from their next call on."""
    now_ms = SystemClock().now_ms()
    key = _changed(data, file, lambda known: known.revoke(which, now_ms))
    OUT.print(f"revoked {key.id} ({key.name})")


@keys.command()
def limit(
    which: Which,
    data: Data = DATA,
    file: File = None,
    calls_per_second: Calls = None,
    events_per_second: Events = None,
) -> None:
    """Set a key's rate limits, effective at once. Limits not given are removed."""
    now_ms = SystemClock().now_ms()
    key = _changed(data, file, lambda known: known.limit(which, now_ms, calls_per_second, events_per_second))
    OUT.print(f"{key.id} ({key.name}): {_limits(key) or 'any number of calls and records'}")


@keys.command()
def rotate(
    name: Name,
    data: Data = DATA,
    file: File = None,
    expires: Expires = None,
    old_expires: Annotated[
        str | None, typer.Option(help="When the old key ends by itself: a date, a time, or a span such as 7d.")
    ] = None,
    anonymous_ids: AnonymousIds = None,
) -> None:
    """Make a second key with the name, roles and limits of the one in use. Both are valid until one is revoked."""
    now_ms, pattern = SystemClock().now_ms(), _pattern(anonymous_ids)
    ends = _instant_ms(expires, now_ms), _instant_ms(old_expires, now_ms)
    made, old = _changed(data, file, lambda known: known.rotate(name, now_ms, *ends, pattern))
    _show(made)
    until = f"until {_shown(old.expires_ms)} UTC" if old.expires_ms is not None else f"until `cdp keys revoke {old.id}`"
    ERR.print(f"the old key {old.id} stays valid {until}", soft_wrap=True)


@keys.command()
def disable(data: Data = DATA) -> None:
    """Remove the file of keys, with all keys. From the next start on, everybody who reaches a router is admitted."""
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.security.keys.key_file import KEYS_NAME
    from cdp_store.errors import DirectoryDamaged

    path = _path(data, None)
    try:
        ClusterDirectory(data).forget(KEYS_NAME)
        path.unlink(missing_ok=True)
    except (DirectoryDamaged, OSError) as error:
        fail(f"the keys cannot be removed: {error}")
    OUT.print("all keys are removed; restart the cluster, on a loopback address, to admit everybody")


def _check_first(roles: Sequence[Role], data: Path, now_ms: int, *, is_accepted: bool) -> None:
    """Raises KeyRefused if the first key lacks the role admin, since no key could then change anything."""
    from cdp_router.gateway.seen_sources import seen_lately
    from cdp_router.security.keys.key_list import KeyRefused

    if Role.ADMIN in roles or is_accepted:
        return
    seen = seen_lately(data, now_ms)
    sources = f" That includes the sources that sent records during the last hour: {', '.join(seen)}." if seen else ""
    raise KeyRefused(
        f"this would be the first key. From then on every call without a key is refused, and a key with the roles "
        f"{', '.join(roles)} cannot administer the cluster.{sources} Make an admin key first, with `cdp keys create "
        f"NAME --role admin`, or give --first"
    )


def _say_what_changes(data: Path, now_ms: int) -> None:
    from cdp_router.gateway.seen_sources import seen_lately

    seen = seen_lately(data, now_ms)
    lines = ["this is the first key: from now on every call without a key is refused, those of this command included"]
    for source, at in seen.items():
        minutes = (now_ms - at) // _MINUTE_MS
        lines.append(
            f"source {source!r} sent records {minutes} min ago and is refused from now on; admit it with `cdp keys "
            f"create {shlex.quote(source)} --role ingest`, and make the printed key its write key"
        )
    if not seen:
        lines.append("no source sent records over HTTP through this data directory during the last hour")
    lines.append("programs that use gRPC without a key are not listed; each needs a key in CDP_API_KEY")
    for line in lines:
        ERR.print(line, soft_wrap=True)


def _limits(key: StoredKey) -> str:
    numbers = ((key.calls_per_second, "calls"), (key.events_per_second, "records"))
    return ", ".join(f"{number:g} {what}/s" for number, what in numbers if number is not None)


def _pattern(text: str | None) -> str | None:
    from cdp_router.errors import RequestInvalid
    from cdp_router.gateway.dialects.distinct_ids import checked_pattern

    try:
        return text and checked_pattern(text)
    except RequestInvalid as error:
        fail(f"--anonymous-ids: {error.problem}", 2)


def _show(made: str) -> None:
    OUT.print(made, soft_wrap=True)
    ERR.print("keep it: it is not shown again, and only a hash of it is stored. Use it as CDP_API_KEY", soft_wrap=True)


def _path(data: Path, file: Path | None) -> Path:
    from cdp_router.security.keys.key_file import KEYS_NAME

    if file is None and not (data / "cluster.json").exists():
        fail(f"{data} holds no cluster; give the --data of `cdp up`, or the file with --keys", 2)
    return file or data / KEYS_NAME


def _listed(data: Path, file: Path | None) -> ListedFile | None:
    """The file as its directory lists it; None for one that may belong to other clusters."""
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED

    return ClusterDirectory(data).listed(KEYS_NAME, KEYS_OUTDATED) if file is None else None


def _read(data: Path, file: Path | None) -> Keys:
    from cdp_router.security.keys.key_file import read_keys
    from cdp_store.errors import DirectoryDamaged

    path = _path(data, file)
    try:
        return read_keys(path, _listed(data, file)) if path.exists() else {}
    except DirectoryDamaged as error:
        fail(str(error))


def _changed(data: Path, file: Path | None, work: Callable[[KeyList], Result]) -> Result:
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.security.keys.key_file import KEYS_NAME, change_keys
    from cdp_router.security.keys.key_list import KeyList, KeyRefused
    from cdp_store.errors import DirectoryDamaged

    directory = ClusterDirectory(data)
    try:
        if file is None:
            directory.is_missing(KEYS_NAME)  # if the list cannot be read, no key is made unnoticed
        result = change_keys(_path(data, file), lambda known: KeyList(known).after(work), _listed(data, file))
        if file is None:
            directory.remember(KEYS_NAME)
        return result
    except (DirectoryDamaged, KeyRefused) as error:
        fail(str(error))
    except OSError as error:
        fail(f"the keys cannot be written: {error}")


def _instant_ms(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if span:
        return now_ms + int(span[1]) * _UNITS_MS[span[2]]
    instant_ms = to_ms(parse_instant(text, "--expires"))
    if instant_ms <= now_ms:
        fail(f"{text} is in the past", 2)
    return instant_ms


def _shown(instant_ms: int | None) -> str:
    if instant_ms is None:
        return "never"
    return to_datetime(instant_ms).strftime("%Y-%m-%d %H:%M")
