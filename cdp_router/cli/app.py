"""The `cdp` command."""

from __future__ import annotations

import os
from typing import Annotated

from cdp_router.cli.interrupts import quiet_interrupts

with quiet_interrupts():
    from importlib import metadata

    import typer

    from cdp_router.cli.admin import (
        audit_command,
        erase_command,
        identity_command,
        keys_command,
        privacy_command,
        retention_command,
        suppressions_command,
    )
    from cdp_router.cli.ask import explain_user_command, profile_command, query_command, segment_command
    from cdp_router.cli.cluster import (
        by_hand,
        log_command,
        members,
        moves,
        restore_command,
        snapshot_command,
        status_command,
        up_command,
        warm_command,
    )
    from cdp_router.cli.console import TlsCa, TlsCert, TlsKey
    from cdp_router.cli.data import (
        dead_letters_command,
        export_command,
        import_command,
        quarantine_command,
        schema_command,
    )
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
    # All clients read the environment.
    given = {API_KEY: api_key, TLS: "1" if tls else None, TLS_CERT: tls_cert, TLS_KEY: tls_key, TLS_CA: tls_ca}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})


app.command("up")(up_command.up)
app.command("import")(import_command.import_files)
app.command("query")(query_command.query)
app.command("explain-user")(explain_user_command.explain_user)
app.command("profile")(profile_command.profile)
app.command("identity")(identity_command.identity)
app.command("unlink")(identity_command.unlink)
app.command("erase")(erase_command.erase)
app.command("retention")(retention_command.retention)
app.command("status")(status_command.status)
app.command("snapshot")(snapshot_command.snapshot)
app.command("restore")(restore_command.restore)
app.command("verify")(snapshot_command.verify)
app.command("digest")(snapshot_command.digest)
app.command("placements")(moves.placements)
app.command("move")(moves.move)
app.command("drain")(moves.drain)
app.command("add-shard")(members.add_shard)
app.command("remove-shard")(members.remove_shard)
app.command("init")(by_hand.init)
app.command("shard")(by_hand.shard)
app.command("router")(by_hand.router)
app.command("gateway")(by_hand.gateway)
app.command("warm")(warm_command.warm)
app.add_typer(export_command.export)
app.add_typer(dead_letters_command.dead_letters)
app.add_typer(segment_command.segment)
app.add_typer(schema_command.schema)
app.add_typer(quarantine_command.quarantine)
app.add_typer(log_command.log)
app.add_typer(keys_command.keys)
app.add_typer(suppressions_command.suppressions)
app.add_typer(audit_command.audit)
app.add_typer(privacy_command.privacy)
