"""The gateway process: `python -m cdp_router.process.gateway`, started by the supervisor or by `cdp gateway`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from cdp_router.gateway.app import gateway_app
from cdp_router.gateway.credentials import AnySource
from cdp_router.gateway.dead_letters import DeadLetters
from cdp_router.gateway.delivery import Delivery
from cdp_router.gateway.intake import Intake
from cdp_router.gateway.reading import Bodies
from cdp_router.gateway.routers import Routers
from cdp_router.gateway.server import GatewayServer, listening_socket
from cdp_router.observing.logs import start_logging
from cdp_router.process.supervised import EXIT_REFUSED, Report, report, run_process, watch_standard_input
from cdp_store.seams import SystemClock

_LOG = logging.getLogger(__name__)


async def _serve(data: Path, routers: list[str], address: str, *, is_alone: bool) -> None:
    listening = listening_socket(address)
    connected = Routers(routers)
    delivery = Delivery(connected.ingest)
    intake = Intake(AnySource(), delivery, DeadLetters(data / "dead-letters"), SystemClock())
    server = GatewayServer(gateway_app(intake, Bodies()))

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    forget = None if is_alone else await watch_standard_input(stop)
    report(Report("ready", port=listening.getsockname()[1]))
    await server.serve(sockets=[listening])
    if forget is not None:
        forget()
    await delivery.close()
    await connected.close()


def main() -> None:
    """Parse arguments and serve."""
    parser = argparse.ArgumentParser(description="Serve the HTTP gateway of a cluster.")
    parser.add_argument("--data", type=Path, required=True, help="dead letters are kept below it")
    parser.add_argument("--router", action="append", required=True, help="host:port of a router; may be repeated")
    parser.add_argument("--alone", action="store_true", help="started by hand: standard input is no supervisor")
    parser.add_argument("--address", default="127.0.0.1:0")
    arguments = parser.parse_args()
    start_logging()
    try:
        run_process(lambda: _serve(arguments.data, arguments.router, arguments.address, is_alone=arguments.alone))
    except OSError as error:
        _LOG.error("%s", error)
        report(Report("failed", f"cannot serve on {arguments.address}: {error}"))
        sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
