"""`cdp up`: a whole cluster on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdp_router.cli.cluster.doors import AllowHost, AnyClient, Doors, Insecure, KeysFile, host_options
from cdp_router.cli.cluster.ports import check_free
from cdp_router.cli.cluster.warm_command import warm_with_progress
from cdp_router.cli.console import OUT, TlsCa, TlsCert, TlsKey, fail
from cdp_router.cli.terminal_tables import Table
from cdp_router.limits import (
    DEFAULT_PORT,
    GATEWAY_PORT,
    PARTITIONS_DEFAULT,
    PARTITIONS_MAX,
    ROUTERS_MAX,
    SLOW_QUERY_MS_DEFAULT,
    SNAPSHOT_MINUTES_DEFAULT,
)
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.seams import SystemClock

if TYPE_CHECKING:
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.process.supervisor import Supervisor

_PORT_MAX = 65_535


_Data = Annotated[Path, typer.Option(help="Directory of the data; created if it does not exist.")]
_Shards = Annotated[int | None, typer.Option(min=1, help="Shard processes. [default: one per core]")]
_Partitions = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=PARTITIONS_MAX,
        help=f"Partitions; fixed for the life of the data. [default: unchanged; for new data {PARTITIONS_DEFAULT}]",
    ),
]
_Host = Annotated[str, typer.Option(help="Address the router listens on; other than loopback only with API keys.")]
_Port = Annotated[int, typer.Option(min=0, max=_PORT_MAX, help="Port of the router; 0 takes a free one.")]
_Routers = Annotated[int, typer.Option(min=1, max=ROUTERS_MAX, help="Router processes, on consecutive ports.")]
_Gateway = Annotated[bool, typer.Option(help="Also serve HTTP, for the SDKs of Segment and others.")]
_GatewayPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=_PORT_MAX, help="Port of the HTTP gateway. [default: 80 above the router's, 0 if that is 0]"
    ),
]
_LogSync = Annotated[
    SyncMode,
    typer.Option(help="Sync the log before each ack, or on a timer: then a power loss may cost acked data."),
]
_MemoryMib = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Memory of each shard in MiB; new data is refused above nine tenths of it. "
        "[default: the shards share four fifths of the machine's]",
    ),
]
_SnapshotMinutes = Annotated[
    float, typer.Option("--snapshot-every", min=0, help="Minutes between snapshots; 0 writes none automatically.")
]
_MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=_PORT_MAX,
        help="Serve Prometheus metrics: the router on this port, shards on the following; 0 takes free ones, which "
        "the logs report.",
    ),
]
_AccessLog = Annotated[bool, typer.Option("--access-log", help="Log every call, not only server errors.")]
_SlowQueryMs = Annotated[
    float, typer.Option(min=0, help="Log answers that took longer, in milliseconds, by the hash of their plan.")
]
_Salvage = Annotated[
    bool,
    typer.Option("--salvage", help="Move damaged or missing parts aside and start without them (their data is lost)."),
]


def up(
    data: _Data = Path("cdp-data"),
    shards: _Shards = None,
    partitions: _Partitions = None,
    host: _Host = "127.0.0.1",
    port: _Port = DEFAULT_PORT,
    routers: _Routers = 1,
    gateway: _Gateway = True,
    gateway_port: _GatewayPort = None,
    log_sync: _LogSync = SyncMode.ALWAYS,
    memory_mib: _MemoryMib = None,
    snapshot_minutes: _SnapshotMinutes = SNAPSHOT_MINUTES_DEFAULT,
    metrics_port: _MetricsPort = None,
    access_log: _AccessLog = False,
    slow_query_ms: _SlowQueryMs = SLOW_QUERY_MS_DEFAULT,
    keys: KeysFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    any_client: AnyClient = False,
    insecure: Insecure = False,
    allow_host: AllowHost = None,
    salvage: _Salvage = False,
) -> None:
    """Start a router and its shards on this machine and keep them running until Ctrl-C."""
    # Imported here: other commands need neither the compiler nor the supervisor.
    from cdp_router.cluster.topology import ClusterDirectory
    from cdp_router.observing.settings import ACCESS_LOG, METRICS, SLOW_QUERY_MS
    from cdp_router.process.supervisor import ChildOptions, ClusterFailed, Supervisor

    doors = Doors(keys, tls_cert, tls_key, tls_ca, any_client, insecure)
    doors.check(f"{host}:{port}", data)
    directory = ClusterDirectory(data.resolve())
    serve_http = _gateway_port(gateway_port, port) if gateway else None
    if not directory.cluster_path.exists():
        # In an existing cluster, processes of a killed `cdp up` may be ending: they free their ports soon.
        _check_ports(host, port, routers, serve_http)
    _opened(directory, shards, partitions, salvage=salvage)
    # Processes read the settings of their reports from the environment, however they are started.
    if metrics_port is not None:
        os.environ[METRICS] = f"{host}:{metrics_port}"
    os.environ[SLOW_QUERY_MS] = str(slow_query_ms)
    if access_log:
        os.environ[ACCESS_LOG] = "1"
    warm_with_progress()
    options = ["--log-sync", log_sync.value, "--snapshot-every", str(snapshot_minutes)]
    if memory_mib is not None:
        options += ["--memory-mib", str(memory_mib)]
    plan = ChildOptions([*options, *doors.shard_options()], doors.router_options(), host_options(allow_host))
    supervisor = Supervisor(
        directory, host, port, lambda line: OUT.print(line, soft_wrap=True), plan, routers, serve_http
    )
    try:
        supervisor.run(lambda: _announce(supervisor, directory, "http" if tls_cert is None else "https"))
    except ClusterFailed as error:
        fail(str(error))
    OUT.print("stopped")


def _gateway_port(given: int | None, router_port: int) -> int:
    if given is not None:
        return given
    beside = router_port + GATEWAY_PORT - DEFAULT_PORT
    return beside if router_port and beside <= _PORT_MAX else 0


def _check_ports(host: str, port: int, routers: int, gateway_port: int | None) -> None:
    for number in range(routers if port else 1):
        check_free(host, port + number, "--port")
    if gateway_port is not None:
        check_free(host, gateway_port, "--gateway-port")


def _opened(directory: ClusterDirectory, shards: int | None, partitions: int | None, *, salvage: bool) -> None:
    """Checks the directory, creating it if there is none; ends the command if it cannot be used."""
    from cdp_router.process.data_directory import check_directory, check_place, remove_old_leftovers
    from cdp_store.errors import DirectoryMismatch, StoreError

    try:
        check_place(directory)
        found = directory.load() if directory.cluster_path.exists() else None
        most = partitions or (found.partitions if found is not None else PARTITIONS_DEFAULT)
        count = shards or (found.shards if found is not None else min(os.cpu_count() or 1, most))
        if count > most:
            fail(f"--shards {count} is more than the {most} available partitions", 2)
        directory.load_or_create(count, partitions)
        if salvage:
            # Imported here: it loads the store with its compiler, a second of each start.
            from cdp_router.restore.salvaging import salvaged

            for line in salvaged(directory):
                OUT.print(line, soft_wrap=True)
        for line in check_directory(directory):
            OUT.print(line, soft_wrap=True)
        remove_old_leftovers(directory, SystemClock().now_ms())
    except DirectoryMismatch as error:
        fail(f"{error}. Use the same option, or another --data directory; shards are added with `cdp add-shard`")
    except StoreError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or directory.path} cannot be used: {error.strerror or error}")


def _announce(supervisor: Supervisor, directory: ClusterDirectory, scheme: str) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("process", "address", "pid"):
        table.add_column(column)
    for name, address, pid in supervisor.addresses():
        table.add_row(name, address, str(pid))
    OUT.print(table)
    OUT.print(f"data: {directory.path}", soft_wrap=True)
    OUT.print(f"ready: router at {supervisor.router_address}")
    if supervisor.gateway_address:
        OUT.print(f"send:  Segment, RudderStack, PostHog and CleverTap SDKs to {scheme}://{supervisor.gateway_address}")
    hint = f"ask:   cdp query 'everyone' --address {supervisor.router_address}    stop: Ctrl-C"
    OUT.print(hint, soft_wrap=True)
