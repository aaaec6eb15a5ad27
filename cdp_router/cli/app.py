"""The `cdp` command."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

from cdp_router.cli.interrupts import quiet_interrupts

with quiet_interrupts():
    from importlib import metadata

    import typer
    from typer.core import TyperGroup

    from cdp_router.cli.console import TlsCa, TlsCert, TlsKey
    from cdp_router.client.credentials import API_KEY, TLS, TLS_CA, TLS_CERT, TLS_KEY

# Where each command is. Its module is loaded when it is named: loading all of them takes longer than most commands.
_PLACES: Final = {
    "up": "cluster.up_command:up",
    "import": "data.import_command:import_files",
    "query": "ask.query_command:query",
    "explain-user": "ask.explain_user_command:explain_user",
    "profile": "ask.profile_command:profile",
    "identity": "admin.identity_command:identity",
    "unlink": "admin.identity_command:unlink",
    "erase": "admin.erase_command:erase",
    "retention": "admin.retention_command:retention",
    "status": "cluster.status_command:status",
    "snapshot": "cluster.snapshot_command:snapshot",
    "restore": "cluster.restore_command:restore",
    "verify": "cluster.snapshot_command:verify",
    "digest": "cluster.snapshot_command:digest",
    "placements": "cluster.moves:placements",
    "move": "cluster.moves:move",
    "drain": "cluster.moves:drain",
    "add-shard": "cluster.members:add_shard",
    "remove-shard": "cluster.members:remove_shard",
    "init": "cluster.by_hand:init",
    "shard": "cluster.by_hand:shard",
    "router": "cluster.by_hand:router",
    "gateway": "cluster.by_hand:gateway",
    "warm": "cluster.warm_command:warm",
    "export": "data.export_command:export",
    "dead-letters": "data.dead_letters_command:dead_letters",
    "segment": "ask.segment_command:segment",
    "schema": "data.schema_command:schema",
    "quarantine": "data.quarantine_command:quarantine",
    "log": "cluster.log_command:log",
    "keys": "admin.keys_command:keys",
    "suppressions": "admin.suppressions_command:suppressions",
    "audit": "admin.audit_command:audit",
    "privacy": "admin.privacy_command:privacy",
}
_SETTINGS: Final[dict[str, Any]] = {"add_completion": False, "rich_markup_mode": None}


class _Commands(Mapping[str, Any]):
    """Commands by name, each loaded when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


@functools.cache
def _command(name: str) -> Any:
    module, _, attribute = _PLACES[name].partition(":")  # KeyError: no such command
    with quiet_interrupts():
        found = getattr(import_module(f"cdp_router.cli.{module}"), attribute)
    around = typer.Typer(**_SETTINGS)
    around.callback()(lambda: None)  # with one, it is a group however few commands it has
    if isinstance(found, typer.Typer):
        around.add_typer(found)
    else:
        around.command(name)(found)
    group: Any = typer.main.get_command(around)
    return group.commands[name]


class _Group(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _Commands()})


app = typer.Typer(
    name="cdp",
    cls=_Group,
    help="An in-memory customer-profile store with an exact segment engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    **_SETTINGS,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cdp {metadata.version('cdp')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    api_key: Annotated[
        str | None,
        typer.Option(envvar=API_KEY, help="API key. Prefer CDP_API_KEY: other users can read command lines."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", envvar=TLS, help="Use TLS; trust the system's CAs.")] = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
) -> None:
    """An in-memory customer-profile store with an exact segment engine."""
    # All clients read the environment.
    given = {API_KEY: api_key, TLS: "1" if tls else None, TLS_CERT: tls_cert, TLS_KEY: tls_key, TLS_CA: tls_ca}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
