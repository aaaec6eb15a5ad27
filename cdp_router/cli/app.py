"""The `cdp` command."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Annotated

import typer

from cdp_router.cli.admin import audit, erase, identity, keys, privacy, retention, suppressions
from cdp_router.cli.ask import explain_user, profile, query, segment
from cdp_router.cli.cluster import by_hand, log, members, moves, restore, snapshots, status, up, warm
from cdp_router.cli.console import TlsCa, TlsCert, TlsKey
from cdp_router.cli.data import dead_letters, export, import_command, quarantine, schema
from cdp_router.client.credentials import API_KEY, TLS, TLS_CA, TLS_CERT, TLS_KEY

app = typer.Typer(
    name="cdp",
    help="An in-memory customer-profile store with an exact segment engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
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
    # Clients read the environment, whoever makes them.
    given = {API_KEY: api_key, TLS: "1" if tls else None, TLS_CERT: tls_cert, TLS_KEY: tls_key, TLS_CA: tls_ca}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})


app.command("up")(up.up)
app.command("import")(import_command.import_files)
app.command("query")(query.query)
app.command("explain-user")(explain_user.explain_user)
app.command("profile")(profile.profile)
app.command("identity")(identity.identity)
app.command("unlink")(identity.unlink)
app.command("erase")(erase.erase)
app.command("retention")(retention.retention)
app.command("status")(status.status)
app.command("snapshot")(snapshots.snapshot)
app.command("restore")(restore.restore)
app.command("verify")(snapshots.verify)
app.command("digest")(snapshots.digest)
app.command("placements")(moves.placements)
app.command("move")(moves.move)
app.command("drain")(moves.drain)
app.command("add-shard")(members.add_shard)
app.command("remove-shard")(members.remove_shard)
app.command("init")(by_hand.init)
app.command("shard")(by_hand.shard)
app.command("router")(by_hand.router)
app.command("gateway")(by_hand.gateway)
app.command("warm")(warm.warm)
app.add_typer(export.export)
app.add_typer(dead_letters.dead_letters)
app.add_typer(segment.segment)
app.add_typer(schema.schema)
app.add_typer(quarantine.quarantine)
app.add_typer(log.log)
app.add_typer(keys.keys)
app.add_typer(suppressions.suppressions)
app.add_typer(audit.audit)
app.add_typer(privacy.privacy)
