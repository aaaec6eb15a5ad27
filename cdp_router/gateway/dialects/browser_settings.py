"""The small answers that browser libraries fetch before they send anything."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdp_router.gateway.write_keys import credentials

_EPOCH: Final = "2024-01-01T00:00:00.000Z"


def _answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _segment_settings(request: Request) -> Response:
    """Settings that make the library of Segment send here."""
    own = {
        "apiKey": request.path_params["key"],
        "apiHost": f"{request.url.netloc}/v1",
        "protocol": request.url.scheme,
    }
    return _answer({"integrations": {"Segment.io": own}, "plan": {}})


async def _rudder_source(request: Request) -> Response:
    """The source of a RudderStack library: enabled, without further destinations."""
    key, _ = credentials(request.headers, request.query_params, None)
    source = {
        "id": key,
        "name": key,
        "writeKey": key,
        "enabled": True,
        "workspaceId": "cdp",
        "config": {"statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}},
        "destinations": [],
        "dataplanes": {},
    }
    return _answer({"source": source, "updatedAt": _EPOCH})


async def _posthog_config(request: Request) -> Response:
    return _answer({"supportedCompression": ["gzip", "gzip-js"], "featureFlags": [], "sessionRecording": False})


async def _posthog_script(request: Request) -> Response:
    """An empty script: the library reads it as no remote configuration and fetches the JSON form."""
    return Response(b"", media_type="text/javascript")


async def _no_flags(request: Request) -> Response:
    return _answer({"flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": False})


SETTINGS_ROUTES: Final = (
    Route("/v1/projects/{key}/settings", _segment_settings, methods=["GET"]),
    Route("/sourceConfig", _rudder_source, methods=["GET"]),
    Route("/array/{key}/config.js", _posthog_script, methods=["GET"]),
    Route("/array/{key}/config", _posthog_config, methods=["GET"]),
    Route("/flags", _no_flags, methods=["POST"]),
    Route("/decide", _no_flags, methods=["POST"]),
)
