"""CORS: the answers that browsers need before and after a request from another site."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_AGE_SECONDS = "7200"


class CrossOrigin:
    """Lets pages of any site use the paths that are open to them, and read errors there."""

    def __init__(self, app: ASGIApp, is_open: Callable[[str], bool]) -> None:
        """`is_open` is called with plain paths."""
        self._app, self._is_open = app, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a preflight request, or adds the headers to the answer of the app."""
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or not self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        allowed = _allowed(origin)
        if scope["method"] == "OPTIONS":
            await _preflight(Headers(scope=scope), allowed, send)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in allowed.items():
                    headers[name] = value
                headers["access-control-expose-headers"] = "Retry-After"
            await send(message)

        await self._app(scope, receive, send_allowed)


def _allowed(origin: str) -> dict[str, str]:
    # Beacons, sent while a page closes, always come with credentials; they have no meaning here.
    return {"access-control-allow-origin": origin, "access-control-allow-credentials": "true", "vary": "Origin"}


async def _preflight(request: Headers, allowed: dict[str, str], send: Send) -> None:
    answer = MutableHeaders(headers=allowed)
    answer["access-control-allow-methods"] = "GET, POST, OPTIONS"
    # All requested headers: libraries add headers of their own to retries.
    answer["access-control-allow-headers"] = request.get("access-control-request-headers", "*")
    answer["access-control-max-age"] = _AGE_SECONDS
    await send({"type": "http.response.start", "status": 204, "headers": answer.raw})
    await send({"type": "http.response.body", "body": b""})
