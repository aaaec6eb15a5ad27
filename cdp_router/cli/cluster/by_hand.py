"""`cdp init`, `cdp shard`, `cdp router`: the processes of a cluster one by one, on several machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cdp_router.cli.cluster.doors import AllowHost, AnyClient, Doors, Insecure, KeysFile, host_options
from cdp_router.cli.console import OUT, TlsCa, TlsCert, TlsKey, fail
from cdp_router.limits import DEFAULT_PORT, GATEWAY_PORT, PARTITIONS_DEFAULT, PARTITIONS_MAX, SNAPSHOT_MINUTES_DEFAULT
from cdp_store.log.sync_mode import SyncMode

Data = Annotated[Path, typer.Option(help="Directory with cluster.json; a shard's data goes there too.")]


def init(
    shards: Annotated[int, typer.Option(min=1, help="Shards that get the partitions at first.")],
    data: Data = Path("cdp-data"),
    partitions: Annotated[
        int, typer.Option(min=1, max=PARTITIONS_MAX, help="Partitions; fixed for the life of the data.")
    ] = PARTITIONS_DEFAULT,
) -> None:
    """Create cluster.json; every machine of a cluster needs a copy of it."""
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.process.data_directory import check_place
    from cdp_store.errors import StoreError

    if shards > partitions:
        fail(f"--shards {shards} is more than the {partitions} available partitions", 2)
    directory = ClusterDirectory(data.resolve())
    if directory.cluster_path.exists():
        fail(f"{directory.cluster_path} exists already; a cluster keeps it for life")
    try:
        check_place(directory)
        directory.load_or_create(shards, partitions)
    except StoreError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{data} cannot be used: {error.strerror or error}")
    OUT.print(
        f"created {directory.cluster_path}; it holds the secret of all hashes: copy it to every machine of the cluster"
    )


def shard(
    number: Annotated[int, typer.Option("--number", min=0, help="Number of this shard.")],
    address: Annotated[str, typer.Option(help="host:port to listen on.")],
    data: Data = Path("cdp-data"),
    log_sync: Annotated[SyncMode, typer.Option(help="Sync the log before each ack, or on a timer.")] = SyncMode.ALWAYS,
    memory_mib: Annotated[int | None, typer.Option(min=1, help="New data is refused above nine tenths of it.")] = None,
    snapshot_minutes: Annotated[
        float, typer.Option("--snapshot-every", min=0, help="Minutes between snapshots; 0 writes none automatically.")
    ] = SNAPSHOT_MINUTES_DEFAULT,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    insecure: Insecure = False,
) -> None:
    """Run one shard in the foreground until SIGTERM; for systemd and the like."""
    doors = Doors(None, tls_cert, tls_key, tls_ca, False, insecure)
    if tls_cert is not None and tls_ca is None:
        fail("a shard checks the certificates of its routers: give --tls-ca too", 2)
    _check(data, address, doors)
    options = ["--log-sync", log_sync.value, "--snapshot-every", str(snapshot_minutes)]
    if memory_mib is not None:
        options += ["--memory-mib", str(memory_mib)]
    _become("cdp_router.process.shard", data, address, ["--shard", str(number), *options, *doors.shard_options()])


def router(
    address: Annotated[str, typer.Option(help="host:port to listen on.")] = f"127.0.0.1:{DEFAULT_PORT}",
    data: Data = Path("cdp-data"),
    keys: KeysFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    any_client: AnyClient = False,
    insecure: Insecure = False,
) -> None:
    """Run one router in the foreground until SIGTERM. It reads the addresses of shards from addresses.json."""
    doors = Doors(keys, tls_cert, tls_key, tls_ca, any_client, insecure)
    _check(data, address, doors)
    doors.check_keys(address, data)
    if not (data / "addresses.json").exists():
        fail(
            f'{data / "addresses.json"} is missing; write one such as {{"0": "10.0.0.1:7401", "1": "10.0.0.2:7401"}}', 2
        )
    _become("cdp_router.process.router", data, address, doors.router_options())


def gateway(
    routers: Annotated[
        list[str] | None, typer.Option("--router", help="host:port of a router; may be given several times.")
    ] = None,
    address: Annotated[str, typer.Option(help="host:port to listen on.")] = f"127.0.0.1:{GATEWAY_PORT}",
    data: Annotated[Path, typer.Option(help="Directory for dead letters.")] = Path("cdp-data"),
    keys: KeysFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    insecure: Insecure = False,
    allow_host: AllowHost = None,
) -> None:
    """Run the HTTP gateway in the foreground until SIGTERM; it needs only the routers of the cluster."""
    doors = Doors(keys, tls_cert, tls_key, tls_ca, False, insecure)
    _check_address(address, doors)
    doors.check_keys(address, data)
    data.mkdir(parents=True, exist_ok=True)
    told = [part for each in routers or [f"127.0.0.1:{DEFAULT_PORT}"] for part in ("--router", each)]
    _become("cdp_router.process.gateway", data, address, [*told, *doors.router_options(), *host_options(allow_host)])


def _check(data: Path, address: str, doors: Doors) -> None:
    _check_address(address, doors)
    if not (data / "cluster.json").exists():
        fail(f"{data} holds no cluster.json; create one with `cdp init`, or copy the cluster's", 2)


def _check_address(address: str, doors: Doors) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        fail(f"--address {address!r} must be host:port, such as 127.0.0.1:7401", 2)
    doors.check_encrypted(address)


def _become(module: str, data: Path, address: str, options: Sequence[str]) -> NoReturn:
    """Replaces this process by the module, so that signals and exit codes are its own."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module, "--data", str(data.resolve()), "--address", address, "--alone", *options]
    os.execv(sys.executable, command)
