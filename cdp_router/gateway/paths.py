"""One spelling of a path, made before any decision about it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


def plain_path(path: str) -> str:
    """A decoded path without empty segments, `.`, `..` and a slash at its end; `/` if nothing is left."""
    plain = list[str]()
    for segment in path.split("/"):
        if segment == "..":
            del plain[-1:]
        elif segment not in ("", "."):
            plain.append(segment)
    return "/" + "/".join(plain)


class PlainPaths:
    """Gives the application every path in its plain form; comes before all decisions by path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on under its plain path."""
        if scope["type"] == "http":
            path = plain_path(scope["path"])
            # `raw_path` changes too: later readers of it must not get another path.
            scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape")}
        await self._app(scope, receive, send)
