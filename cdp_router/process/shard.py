"""The shard process: `python -m cdp_router.process.shard`, started by the supervisor or by `cdp shard`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from functools import partial
from pathlib import Path

from cdp_router.background import Background
from cdp_router.cluster.shard_methods import SHARD_SERVICES
from cdp_router.cluster.topology import ClusterDirectory, shard_name
from cdp_router.errors import RouterError
from cdp_router.observing.durability_metrics import Kept
from cdp_router.observing.logs import start_logging
from cdp_router.observing.observing import Observing
from cdp_router.observing.settings import Settings
from cdp_router.process import warm_up
from cdp_router.process.kernel_list import load_or_run
from cdp_router.process.serving import Serving
from cdp_router.process.supervised import EXIT_REFUSED, Report, report, run_process
from cdp_router.process.tls_arguments import add_tls_arguments, tls_of
from cdp_router.security.gates import ClusterGate
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.cluster_secrets import call_secret
from cdp_router.security.tls.links import Link
from cdp_router.security.tls.listening import server_credentials
from cdp_router.security.tls.tls import Tls
from cdp_router.services.shard_services import add_shard_services, threaded_handlers
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_router.shard.memory_budget import MemoryBudget, default_bytes
from cdp_router.shard.server import ShardServer
from cdp_store.errors import StoreError, StoreFailed
from cdp_store.limits import MIB
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.seams import SystemClock
from cdp_store.shard.store import Store

EXIT_STORE_FAILED = 75  # "temporary failure": starting again recovers from the log
_LOG = logging.getLogger(__name__)


async def _serve(
    directory: ClusterDirectory,
    shard: int,
    address: str,
    tls: Tls | None,
    sync_mode: SyncMode,
    memory_mib: int | None,
    minutes: float,
    *,
    is_alone: bool,
) -> None:
    if warm_up.is_wanted():
        load_or_run(warm_up.warm_kernels)
    cluster = directory.load()
    directory.check_shard(shard)
    settings = Settings.from_environment()
    observing = Observing(f"shard-{shard}", settings, settings.metrics_of_shard(shard))
    identity, files = cluster.shard_identity(shard), observing.files()
    store = Store(directory.shard_path(shard), identity, cluster.hash_key, files, sync_mode)
    _recover(store, shard)
    directory.remember(shard_name(shard))
    observing.watch_files(lambda: Kept(store.log_bytes, store.newest_snapshot), SystemClock())
    observing.watch_partitions(lambda: [partition.status() for partition in store.partitions.values()])
    # A holder of the secret may read and change everything, so certificates are required wherever there are any.
    credentials = server_credentials(tls, clients_show_certificates=True) if tls is not None else None
    serving = Serving(SHARD_SERVICES, observing.observers, ClusterGate(call_secret(cluster)), credentials)
    observing.start()
    failures = list[StoreFailed]()

    def fail(error: StoreFailed) -> None:
        failures.append(error)
        serving.stop_soon()

    budget = MemoryBudget(default_bytes(cluster.shards) if memory_mib is None else memory_mib * MIB)
    link = Link.of(cluster, tls)
    background = Background(observing.background.failed)
    connect = partial(GrpcShardClient, link=link)
    server = ShardServer(store, fail, budget=budget, connect=connect, background=background)
    server.upkeep.settle_soon()
    server.upkeep.retain_hourly()
    if minutes:
        background.keep("snapshots", partial(server.snapshots.take_every, minutes * 60))
    serving.add_pipes(call_secret(cluster), add_shard_services(server, serving.server))
    serving.add_threaded_pipes(call_secret(cluster), threaded_handlers(server), server.workers, server.workers.size)
    await serving.run(address, is_alone=is_alone)
    observing.close()
    await server.close()
    if failures:
        sys.exit(EXIT_STORE_FAILED)


def _recover(store: Store, shard: int) -> None:
    told, started = 0.0, time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            report(Report("progress", f"shard {shard}: log replay {done * 100 // max(total, 1)} %"))

    recovery = store.recover(progress)
    for problem in recovery.problems:
        _LOG.warning("%s; an older snapshot and more of the log were used instead", problem)
    if recovery.bytes_cut:
        cut = recovery.bytes_cut
        _LOG.warning("cut %d bytes of a torn write from the log's end; they were never acknowledged", cut)
    _LOG.info("recovered in %.2f s", time.monotonic() - started)


def main() -> None:
    """Parses arguments and serve."""
    parser = argparse.ArgumentParser(description="Serve one shard of a cluster.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--alone", action="store_true", help="started by hand: standard input is no supervisor")
    parser.add_argument("--address", default="127.0.0.1:0")
    parser.add_argument("--log-sync", type=SyncMode, default=SyncMode.ALWAYS)
    parser.add_argument("--memory-mib", type=int, help="above nine tenths of it, new data is refused")
    parser.add_argument("--snapshot-every", type=float, default=0.0, help="minutes; 0 = never")
    add_tls_arguments(parser)
    arguments = parser.parse_args()
    start_logging()
    try:
        directory = ClusterDirectory(arguments.data)
        tls = tls_of(arguments)
        serving = partial(_serve, directory, arguments.shard, arguments.address, tls, arguments.log_sync)
        memory_mib, minutes = arguments.memory_mib, arguments.snapshot_every
        run_process(lambda: serving(memory_mib, minutes, is_alone=arguments.alone))
    except (StoreError, RouterError, CredentialsUnusable, OSError) as error:
        _LOG.error("%s", error)
        report(Report("failed", str(error)))
        sys.exit(EXIT_REFUSED)
    except RuntimeError as error:  # gRPC's error for an address it cannot listen on
        _LOG.error("%s", error)
        report(Report("failed", f"cannot serve on {arguments.address}: {error}"))
        # A port that was ours before may become free again; one that never was will not.
        sys.exit(EXIT_REFUSED if arguments.address.endswith(":0") else EXIT_STORE_FAILED)


if __name__ == "__main__":
    main()
