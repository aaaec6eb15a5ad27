"""The routes of the gateway."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cdp_router.gateway.cors import CrossOrigin
from cdp_router.gateway.dialects.browser_settings import SETTINGS_ROUTES
from cdp_router.gateway.dialects.dialects import BATCH, CLEVERTAP, POSTHOG, POSTHOG_V1, SEGMENT, Dialect
from cdp_router.gateway.dialects.segment import call_type
from cdp_router.gateway.dialects.unserved import Unserved
from cdp_router.gateway.hosts import AllowedHosts, Hosts
from cdp_router.gateway.intake import Intake, Sent
from cdp_router.gateway.openapi import document
from cdp_router.gateway.paths import PlainPaths
from cdp_router.gateway.problems import Problem
from cdp_router.gateway.query_side import QuerySide
from cdp_router.gateway.request_bytes import Bodies
from cdp_router.observing.gateway_metrics import GatewayMetrics

_LOG = logging.getLogger(__name__)
_SEGMENT_BATCHES: Final = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
_SEGMENT_CALLS: Final = ("track", "identify", "page", "screen", "group", "alias", "t", "i", "p", "s", "g", "a")
_POSTHOG: Final = ("/batch", "/capture", "/e", "/i/v0/e")

Endpoint = Callable[[Request], Awaitable[Response]]


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def gateway_app(
    intake: Intake,
    bodies: Bodies,
    query_side: QuerySide,
    hosts: Hosts | None = None,
    metrics: GatewayMetrics | None = None,
) -> ASGIApp:
    """The whole gateway as one ASGI application; while it has no keys only `hosts` may connect, by default loopback."""

    def taking(dialect: Dialect, type_: str = "") -> Endpoint:
        async def take(request: Request) -> Response:
            intake.check_key(request.headers)
            async with bodies.read(request) as body:
                sent = Sent(body, request.headers, request.query_params, type_)
                return json_response(await intake.accept(dialect, sent))

        return take

    # Pages of any site may use these, and no others.
    open_routes = [
        *(Route(path, taking(SEGMENT, BATCH), methods=["POST"]) for path in _SEGMENT_BATCHES),
        *(Route(f"/v1/{name}", taking(SEGMENT, call_type(name)), methods=["POST"]) for name in _SEGMENT_CALLS),
        *(Route(path, taking(POSTHOG), methods=["POST"]) for path in _POSTHOG),
        Route("/i/v1/analytics/events", taking(POSTHOG_V1), methods=["POST"]),
        Route("/1/upload", taking(CLEVERTAP), methods=["POST"]),
        Route("/v1/m", _discard, methods=["POST"]),
        *SETTINGS_ROUTES,
    ]
    closed_routes = [
        Route("/health", _healthy, methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
        *query_side.routes(),
    ]

    closed = tuple({route.path.partition(":")[0].lower() for route in closed_routes})

    def is_open(path: str) -> bool:
        """True if pages of any site may use a plain path, or learn that nothing is served there."""
        is_served = any(route.path_regex.match(path) for route in open_routes)
        return is_served or not path.lower().startswith(closed)

    unserved = Unserved(metrics)

    async def on_http_error(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        is_missing = error.status_code == 404
        message = unserved.note(request.method, request.scope["path"]) if is_missing else error.detail
        allowed = (error.headers or {}).get("Allow", "")
        if error.status_code == 405:
            message = f"{request.scope['path']} takes {_methods(allowed)}, not {request.method}"
        answer = await _on_problem(
            request, Problem(error.status_code, codes.get(error.status_code, "invalid"), message)
        )
        if allowed:
            answer.headers["allow"] = allowed
        return answer

    handlers: dict[Any, Any] = {Problem: _on_problem, HTTPException: on_http_error, Exception: _on_error}
    app = Starlette(routes=[*open_routes, *closed_routes], exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirected POST becomes a GET, and its events are lost
    # The path is made plain first: all later decisions use the same one.
    return PlainPaths(AllowedHosts(CrossOrigin(app, is_open), hosts or Hosts(), is_open))


def _methods(allowed: str) -> str:
    """Methods of a path in words; HEAD goes without saying where GET is allowed."""
    names = allowed.split(", ")
    return " or ".join(sorted(name for name in names if name != "HEAD" or "GET" not in names))


async def _discard(request: Request) -> Response:
    """Accepts and discards numbers that a library sends about itself."""
    return json_response({"success": True})


async def _openapi(request: Request) -> Response:
    return json_response(document())


async def _healthy(request: Request) -> Response:
    return json_response({"status": "ok"})


async def _on_problem(request: Request, error: Problem) -> Response:
    # All four: each family of SDKs reads another one.
    said = {"code": error.code, "message": error.message, "error": error.message, "detail": error.message}
    response = json_response(said, error.status)
    if error.retry_after_seconds:
        response.headers["retry-after"] = str(error.retry_after_seconds)
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    _LOG.error("internal error", exc_info=error)
    return await _on_problem(request, Problem(500, "internal", "internal error; the gateway's log has it"))
