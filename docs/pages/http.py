"""Paths of the gateway, from its routes and its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.routing import Route

from cdp_router.gateway.endpoints import gateway_app
from cdp_router.gateway.openapi import document
from cdp_router.gateway.query_side import QuerySide
from docs.pages.page import Page

# Who calls a path, by what it begins with; the longest fits.
_CALLERS: Final = {
    "/v1/": "Segment and RudderStack",
    "/beacon/v1/batch": "RudderStack's browser library, with `useBeacon`",
    "/v1/m": "numbers that a library sends about itself; discarded",
    "/v1/projects/": "settings of Segment's browser library",
    "/sourceConfig": "settings of RudderStack's browser library",
    "/1/upload": "CleverTap",
    "/batch": "PostHog",
    "/capture": "PostHog",
    "/e": "PostHog",
    "/i/v0/e": "PostHog",
    "/i/v1/analytics/events": "PostHog, the newer form",
    "/array/": "settings of PostHog's browser library",
    "/flags": "feature flags of PostHog's libraries: none",
    "/decide": "feature flags of PostHog's libraries: none",
    "/health": "probes",
    "/openapi.json": "tools: the OpenAPI document",
}


def http() -> str:
    """Every path of the gateway, and the fields of questions."""
    page, described = Page("HTTP"), document()
    page.say(
        "The gateway serves these paths ([how it works](../design/gateway.md), [SDKs](../guide/sdks.md), "
        "[errors](errors.md)). A running gateway has the whole OpenAPI document at `/openapi.json`."
    )
    asked = {path for path, operations in described["paths"].items() if path != "/v1/batch" and operations}
    page.head("Paths that SDKs and probes use")
    found = dict[str, list[str]]()
    for route in _routes():
        if route.path not in asked:
            methods = ", ".join(sorted((route.methods or set()) - {"HEAD"}))
            found.setdefault(_caller(route.path), []).append(f"`{methods} {route.path}`")
    page.table(("caller", "paths"), ((caller, ", ".join(paths)) for caller, paths in found.items()))
    page.head("Questions")
    page.say(
        "Messages of the contract in protobuf's JSON form, under the caller's own key (`authorization: Bearer KEY`). "
        "Integers of 64 bits are strings. Fields are optional."
    )
    schemas = described["components"]["schemas"]
    for path in sorted(asked):
        operation = described["paths"][path]["post"]
        page.head(f"`POST {path}`", 3)
        page.say(operation["summary"])
        request = operation["requestBody"]["content"]["application/json"]["schema"]
        page.table(("field of the request", "type"), _fields(request, schemas))
        answers = operation["responses"]["200"]["content"]
        if "application/json" in answers:
            page.table(("field of the answer", "type"), _fields(answers["application/json"]["schema"], schemas))
    return page.text()


def _routes() -> Iterator[Route]:
    app: Any = gateway_app(None, None, QuerySide([], None))  # type: ignore[arg-type] # nothing is asked of them
    while not hasattr(app, "routes"):
        app = app._app
    yield from app.routes


def _caller(path: str) -> str:
    fitting = [start for start in _CALLERS if path == start or (start.endswith("/") and path.startswith(start))]
    if not fitting:
        raise SystemExit(f"who calls {path} is not described")
    return _CALLERS[max(fitting, key=len)]


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    of = schemas[schema["$ref"].rpartition("/")[2]]
    yield from ((f"`{name}`", _type(each)) for name, each in of["properties"].items())


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema.get("format", schema["type"]))
