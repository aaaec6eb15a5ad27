"""The gateway process: `python -m cdp_router.process.gateway`, started by the supervisor or by `cdp gateway`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

from cdp_router.background import Background
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.errors import RouterError
from cdp_router.gateway.asking_keys import AskingKeys
from cdp_router.gateway.delivery import Delivery
from cdp_router.gateway.dialects.distinct_ids import pattern_of_environment
from cdp_router.gateway.endpoints import gateway_app
from cdp_router.gateway.hosts import Hosts
from cdp_router.gateway.http_server import GatewayServer, listening_socket
from cdp_router.gateway.intake import Intake
from cdp_router.gateway.letters.dead_letters import FOLDER, DeadLetters
from cdp_router.gateway.letters.letter_room import LetterRoom, RoomLimits
from cdp_router.gateway.query_side import QuerySide
from cdp_router.gateway.refusals import Refusals
from cdp_router.gateway.request_bytes import Bodies
from cdp_router.gateway.routers import Routers
from cdp_router.gateway.seen_sources import SeenSources
from cdp_router.gateway.write_keys import KeySources
from cdp_router.observing.gateway_metrics import GatewayMetrics, MeasuredApp, serve_metrics
from cdp_router.observing.logs import start_logging
from cdp_router.observing.settings import Settings
from cdp_router.process.data_directory import open_keys
from cdp_router.process.supervised import (
    EXIT_REFUSED,
    Report,
    report,
    report_ready,
    run_process,
    watch_standard_input,
)
from cdp_router.process.tls_arguments import add_tls_arguments, tls_of
from cdp_router.security.keys.key_file import KeyFile
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.listening import check_listening
from cdp_router.security.tls.tls import Tls
from cdp_store.errors import StoreError
from cdp_store.outside.seams import SystemClock

_LOG = logging.getLogger(__name__)


async def _serve(
    data: Path,
    routers: list[str],
    address: str,
    keys: KeyFile,
    tls: Tls | None,
    allowed: Sequence[str],
    *,
    is_alone: bool,
) -> None:
    check_listening(address, has_keys=keys.keys() is not None)
    listening, clock = listening_socket(address), SystemClock()
    connected, registry = Routers(routers, _to_routers(tls)), CollectorRegistry()
    metrics, settings = GatewayMetrics(registry), Settings.from_environment()
    ProcessCollector(registry=registry)
    background = Background(metrics.failed)
    delivery, bodies = Delivery(connected.ingest, background, metrics.warnings_omitted), Bodies()
    known = KeySources(keys, clock, Refusals(connected.channels, background).note, pattern_of_environment())
    sources = SeenSources(known, data, clock, is_open=lambda: keys.keys() is None)
    room = LetterRoom(data / FOLDER, RoomLimits.from_environment())
    letters = DeadLetters(data / FOLDER, ClusterDirectory(data), room)
    for problem in letters.problems():
        _LOG.error("%s", problem)
    intake = Intake(sources, delivery, letters, clock, metrics)
    hosts = Hosts([address.rpartition(":")[0], *allowed], is_open=lambda: keys.keys() is None)
    asking = QuerySide(connected.channels, bodies, AskingKeys(keys, clock).admits)
    app = gateway_app(intake, bodies, asking, hosts, metrics)
    server = GatewayServer(MeasuredApp(app, metrics), tls if tls is not None and tls.certificate else None)

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    forget = None if is_alone else await watch_standard_input(stop)
    stop_metrics = serve_metrics(registry, settings.metrics_of_gateway())
    report_ready(listening.getsockname()[1])
    background.keep("certificates", server.keep_renewed)
    await server.serve(sockets=[listening])
    if forget is not None:
        forget()
    await delivery.close()
    await background.close()
    await connected.close()
    stop_metrics()


def _to_routers(tls: Tls | None) -> Tls | None:
    """Trust in routers: by the given authority, else by the certificate that both processes share."""
    return None if tls is None else Tls(tls.certificate, tls.key, tls.ca or tls.certificate)


def main() -> None:
    """Parses arguments and serve."""
    parser = argparse.ArgumentParser(description="Serve the HTTP gateway of a cluster.")
    parser.add_argument("--data", type=Path, required=True, help="dead letters are kept below it")
    parser.add_argument("--router", action="append", required=True, help="host:port of a router; may be repeated")
    parser.add_argument("--alone", action="store_true", help="started by hand: standard input is no supervisor")
    parser.add_argument("--address", default="127.0.0.1:0")
    parser.add_argument("--keys", type=Path, help="the file of API keys; else keys.json in the data directory")
    parser.add_argument("--allow-host", action="append", default=[], help="serve this host name without keys too")
    parser.add_argument("--any-client", action="store_true", help="of routers; HTTP clients never show a certificate")
    add_tls_arguments(parser)
    arguments = parser.parse_args()
    start_logging()
    try:
        keys = open_keys(ClusterDirectory(arguments.data), arguments.keys)
        place, tls = (arguments.data, arguments.router, arguments.address), tls_of(arguments)
        run_process(lambda: _serve(*place, keys, tls, arguments.allow_host, is_alone=arguments.alone))
    except (StoreError, RouterError, CredentialsUnusable, ValueError) as error:
        _LOG.error("%s", error)
        report(Report("failed", str(error)))
        sys.exit(EXIT_REFUSED)
    except OSError as error:
        _LOG.error("%s", error)
        report(Report("failed", f"cannot serve on {arguments.address}: {error}"))
        sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
