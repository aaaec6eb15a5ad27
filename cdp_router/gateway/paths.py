"""One spelling of a path, before anything looks at it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


def plain_path(path: str) -> str:
    """A decoded path without empty segments, `.`, `..` and a slash at its end; `/` where nothing is left."""
    plain = list[str]()
    for segment in path.split("/"):
        if segment == "..":
            del plain[-1:]
        elif segment not in ("", "."):
            plain.append(segment)
    return "/" + "/".join(plain)


class PlainPaths:
    """Gives the application every path in its plain form; stands in front of all that decides by the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the request on under its plain path."""
        if scope["type"] == "http":
            path = plain_path(scope["path"])
            # `raw_path` goes along: what is read from it later must not be another path.
            scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape")}
        await self._app(scope, receive, send)
