"""Ports that a cluster needs, checked before anything is made or started."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

from cdp_router.cli.console import fail


def check_free(host: str, port: int, option: str) -> None:
    """End the command if nothing can listen there; port 0 is any that is free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as listening:
            # Connections that ended a moment ago hold no port: servers set this as well.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"port {port} is in use, perhaps by another `cdp up`. Stop it, or give another {option}")
        fail(f"cannot listen on {host}:{port}: {error.strerror}")
