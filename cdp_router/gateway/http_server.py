"""The HTTP server of the gateway, and its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from cdp_router.gateway.connections import BoundedConnection
from cdp_router.gateway.http_limits import CONNECTIONS_MAX, IDLE_SECONDS
from cdp_router.security.tls.certificate_files import CertificateFiles
from cdp_router.security.tls.renewing import LOOK_SECONDS
from cdp_router.security.tls.tls import Tls

_BACKLOG = 4096
_STOP_SECONDS = 10  # for answers to requests that are at work


class GatewayServer(uvicorn.Server):
    """Serves an application on a socket; stops when `should_exit` is set, and leaves signals to its process."""

    def __init__(self, app: ASGIApp, tls: Tls | None = None) -> None:
        config = uvicorn.Config(
            app,
            http=BoundedConnection,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
            limit_concurrency=CONNECTIONS_MAX,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        super().__init__(config)
        self._tls = tls

    async def keep_renewed(self) -> None:
        """Shows replaced certificates to later connections; runs until cancelled."""
        files = None if self._tls is None else CertificateFiles(self._tls)
        while files is not None:
            await asyncio.sleep(LOOK_SECONDS)
            self.renew(files)

    def renew(self, files: CertificateFiles) -> None:
        """Reads the certificates again if they have changed."""
        if self._tls is not None and self._tls.certificate and self.config.ssl and files.have_changed():
            self.config.ssl.load_cert_chain(self._tls.certificate, self._tls.key)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: the process stops by its own rules."""
        yield


def listening_socket(address: str) -> socket.socket:
    """A socket that listens at host:port; OSError if that is impossible."""
    host, _, port = address.rpartition(":")
    return socket.create_server(
        (host.strip("[]"), int(port)), family=socket.AF_INET6 if "[" in host else socket.AF_INET, backlog=_BACKLOG
    )
