"""Pages of other sites may send events and nothing else, however a path is spelt and whatever a name leads to."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Scope

from cdp_router.gateway.hosts import AllowedHosts, Hosts
from cdp_router.gateway.paths import plain_path
from cdp_router.gateway.query_side import MEMBERS, UNARY
from cdp_router.gateway.write_keys import AnySource
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

SITE: Final = "https://evil.example"
CLOSED: Final = [*(served.path for served in UNARY), MEMBERS.path, "/openapi.json", "/health"]
OPEN: Final = ["/v1/track", "/v1/batch", "/batch", "/e", "/i/v0/e", "/1/upload", "/v1/m", "/flags", "/array/web/config"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    with gateway_cluster(tmp_path_factory.mktemp("gateway"), AnySource()) as found:
        found.post("/v1/track", {"userId": "u", "event": "Visit"})
        yield found


def _raw(gateway: GatewayCluster, method: str, target: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request target as it is; no client may make it plain."""
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest(method, target, skip_host="Host" in headers)
        body = b'{"text": "everyone"}'
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _spellings(path: str) -> list[str]:
    first, rest = path[1:].split("/", 1) if path.count("/") > 1 else (path[1:], "")
    tail = f"/{rest}" if rest else ""
    return [
        f"/{path}",
        f"//{path}/",
        f"{path}/",
        f"/.{path}",
        f"/./{first}{tail}",
        f"/v1/track/../..{path}",
        f"/x/..{path}",
        f"/{first}//{rest}" if rest else f"//{first}",
        f"/%2e{path}",
        f"/v1/track/%2e%2e/%2E%2e{path}",
        f"/%2f{first}{tail}",
        path.replace(":", "%3A"),
        path.replace("v1", "%76%31"),
        path.upper(),
        f"http://127.0.0.1{path}",
        f"http://evil.example/{path}",
        f"{path}?/v1/track",
        f"{path}%3F/v1/track",
        f"{path};/v1/track",
    ]


@pytest.mark.parametrize("path", CLOSED)
def test_no_spelling_of_a_closed_path_is_open_to_other_sites(gateway: GatewayCluster, path: str) -> None:
    for target in _spellings(path):
        for method in ("OPTIONS", "POST"):
            status, headers, body = _raw(gateway, method, target, Origin=SITE)
            assert not [name for name in headers if name.startswith("access-control")], (method, target)
            assert status >= 400 and b'"population"' not in body, (method, target)


def test_a_page_may_read_that_nothing_is_served_at_a_path(gateway: GatewayCluster) -> None:
    status, headers, body = _raw(gateway, "POST", "/track", Origin=SITE)
    assert (status, headers["access-control-allow-origin"]) == (404, SITE) and b"not_found" in body


@pytest.mark.parametrize("path", OPEN)
def test_every_spelling_of_an_open_path_is(gateway: GatewayCluster, path: str) -> None:
    for target in (path, f"/{path}", f"{path}/", f"/.{path}", f"/x/..{path}"):
        status, headers, _ = _raw(gateway, "OPTIONS", target, Origin=SITE)
        assert (status, headers["access-control-allow-origin"]) == (204, SITE), target


@given(
    st.sampled_from(CLOSED),
    st.lists(st.sampled_from(("/", "/./", "//", "/a/../", "/../", "/v1/track/../../")), max_size=4),
    st.sampled_from(("", "/", "//", "/.", "/x/..")),
)
def test_a_plain_path_is_found_behind_every_spelling(path: str, before: list[str], behind: str) -> None:
    assert plain_path("".join(before) + path + behind) == path
    assert plain_path(plain_path(path)) == path


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7480",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "evil.example/127.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "[::2]",
        "[::1",
        "",
    ],
)
def test_a_name_that_leads_to_this_machine_is_not_let_in(gateway: GatewayCluster, host: str) -> None:
    for target in ("/v1/profiles:get", "/v1/segments:count", "/v1/track", "//v1/profiles:get"):
        status, _, body = _raw(gateway, "POST", target, Host=host)
        assert status in (400, 421) and b"Visit" not in body, target
    assert _raw(gateway, "GET", "/health", Host="probe.internal")[0] == 200
    refused = json.loads(_raw(gateway, "POST", "/v1/segments:count", Host="evil.example")[2])
    assert refused["code"] == "host_not_allowed" and "--allow-host" in refused["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:7480", "127.9.9.9", "[::1]:80"])
def test_names_of_this_machine_are_let_in(gateway: GatewayCluster, host: str) -> None:
    status, _, body = _raw(gateway, "POST", "/v1/segments:count", Host=host)
    assert status == 200 and json.loads(body)["count"] == "1"


@pytest.mark.parametrize(
    "origin", [SITE, "null", "https://127.0.0.1.evil.example", "file://", "http://localhost@evil.example"]
)
def test_pages_of_other_names_may_not_ask(gateway: GatewayCluster, origin: str) -> None:
    status, _, body = _raw(gateway, "POST", "/v1/segments:count", Origin=origin)
    assert (status, json.loads(body)["code"]) == (403, "origin_not_allowed")


def test_pages_of_this_machine_may_ask(gateway: GatewayCluster) -> None:
    assert _raw(gateway, "POST", "/v1/segments:count", Origin="http://localhost:3000")[0] == 200


def _status(hosts: Hosts, host: str) -> int:
    sent = list[Message]()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def collect(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "POST", "path": "/v1/track", "headers": [(b"host", host.encode())]}
    asyncio.run(AllowedHosts(app, hosts, lambda _: True)(scope, receive, collect))
    return int(sent[0]["status"])


def test_other_names_are_let_in_by_choice_or_where_there_are_keys(tmp_path: Path) -> None:
    assert _status(Hosts(["CDP.internal."]), "cdp.internal:443") == 200
    assert _status(Hosts(["cdp.internal"]), "evil.example") == 421
    assert _status(Hosts(is_open=lambda: False), "evil.example") == 200
