"""Host names under which a gateway without keys is served, so that no page can point its own name to it.

A browser lets a page read answers from the name that the page came from. The owner of a name can point it to 127.0.0.1
(DNS rebinding) and would then read all answers of the gateway; the `Host` header still has the name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp_router.security.tls.loopback import is_loopback

_HEALTH = "/health"  # reveals nothing, and probes use many names


class Hosts:
    """The names that are admitted while there are no keys: those of loopback, and others by choice."""

    def __init__(self, names: Iterable[str] = (), is_open: Callable[[], bool] = lambda: True) -> None:
        """`is_open` returns whether the gateway has no keys now."""
        self._names, self.is_open = {_plain(name) for name in names}, is_open

    def lets_in(self, authority: str) -> bool:
        """True if a `Host` header, or the authority of an origin, has such a name."""
        try:
            parts = urlsplit(f"//{authority}")
            name, _ = _plain(parts.hostname or ""), parts.port
        except ValueError:
            return False
        is_bare = not (parts.path or parts.query or parts.fragment or parts.username is not None)
        return is_bare and (is_loopback(name) or name in self._names)


class AllowedHosts:
    """Refuses requests under other names, and questions of pages that came from other names."""

    def __init__(self, app: ASGIApp, hosts: Hosts, is_open: Callable[[str], bool]) -> None:
        """`is_open` returns whether pages of any site may send to a path."""
        self._app, self._hosts, self._is_open = app, hosts, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with 421 or 403, or passes the request on."""
        if scope["type"] != "http" or scope["path"] == _HEALTH or not self._hosts.is_open():
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        for host in headers.getlist("host"):
            if not self._hosts.lets_in(host):
                await _refuse(send, 421, "host_not_allowed", f"this gateway is not served under the name {host!r}")
                return
        asks = scope["method"] != "OPTIONS" and not self._is_open(scope["path"])
        for origin in headers.getlist("origin") if asks else ():
            if not self._hosts.lets_in(origin.partition("://")[2]):
                await _refuse(send, 403, "origin_not_allowed", f"pages from {origin!r} may not ask questions here")
                return
        await self._app(scope, receive, send)


async def _refuse(send: Send, status: int, code: str, problem: str) -> None:
    message = (
        f"{problem}: it has no API keys, so only localhost and loopback addresses are admitted. Start it with "
        "--allow-host NAME to allow another name, or make API keys with `cdp keys create`"
    )
    body = json.dumps({"code": code, "message": message, "error": message, "detail": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _plain(name: str) -> str:
    return name.strip().strip("[]").lower().removesuffix(".")
