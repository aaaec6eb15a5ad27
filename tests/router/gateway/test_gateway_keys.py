"""Write keys are API keys with the role ingest, wherever an SDK puts them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdp_router.gateway.asking_keys import AskingKeys
from cdp_router.gateway.write_keys import KeySources
from cdp_router.rpc.principal import Role
from cdp_router.security.gates import KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.key_list import KeyList
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster
from tests.router.local_cluster import FixedClock

FOREVER = None


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A key by name, with the path of their file under its own name."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"

    def make(name: str, role: Role, expires_ms: int | None = FOREVER) -> str:
        return change_keys(
            path, lambda known: KeyList(known).after(lambda each: each.create(name, [role], 1, expires_ms, None, None))
        )

    made = {"web": make("web", Role.INGEST), "reader": make("reader", Role.QUERY), "old": make("old", Role.INGEST, 2)}
    made["revoked"] = make("revoked", Role.INGEST)
    change_keys(path, lambda known: KeyList(known).after(lambda each: each.revoke("revoked", 3)))
    return {**made, "path": str(path)}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]) -> Iterator[GatewayCluster]:
    file, clock = KeyFile(Path(keys["path"])), FixedClock()
    sources, asking, gate = KeySources(file, clock), AskingKeys(file, clock), KeyGate(file, clock)
    with gateway_cluster(tmp_path_factory.mktemp("gateway"), sources, gate=gate, admits=asking.admits) as found:
        found.http.auth = None
        yield found


@pytest.mark.parametrize("place", ["basic", "bearer", "body", "clevertap"])
def test_g10_a_good_key_is_taken_and_goes_on_to_the_router(
    gateway: GatewayCluster, keys: dict[str, str], place: str
) -> None:
    key, call = keys["web"], {"type": "track", "event": place, "userId": "u"}
    options: dict[str, Any] = {}
    if place == "basic":
        options["auth"] = (key, "")
    elif place == "bearer":
        options["headers"] = {"Authorization": f"Bearer {key}"}
    elif place == "clevertap":
        options["headers"] = {"X-CleverTap-Account-Id": "acme", "X-CleverTap-Passcode": key}
    body = {"batch": [call, {"type": "?"}]} | ({"writeKey": key} if place == "body" else {})
    assert gateway.post("/v1/batch", body, **options).status_code == 200
    assert gateway.count(f'did("{place}")') == 1
    assert gateway.api_keys == {key}
    assert {letter.source for letter in gateway.letters()} == {"web"}
    origins = gateway.profile(user_id="u", with_origins=True).events
    assert all(each.origin.message_id.startswith("web:") for each in origins)


@pytest.mark.parametrize(
    ("which", "status"),
    [("reader", 403), ("old", 401), ("revoked", 401), ("cdp_000000000000_x", 401), ("web", 401), ("x" * 1000, 401)],
)
def test_g10_any_other_key_is_refused_and_nothing_is_kept(
    gateway: GatewayCluster, keys: dict[str, str], which: str, status: int
) -> None:
    key = which if which == "web" else keys.get(which, which)
    before = len(gateway.letters())
    answer = gateway.post(
        "/v1/batch", {"batch": [{"type": "?"}, {"type": "track", "event": "no", "userId": "u"}]}, auth=(key, "")
    )
    assert (answer.status_code, answer.json()["code"]) == (
        status,
        {401: "invalid_write_key", 403: "role_missing"}[status],
    )
    assert (gateway.count('did("no")'), len(gateway.letters())) == (0, before)


def _answer_without_body(gateway: GatewayCluster, path: str, authorization: str) -> tuple[int, str]:
    """Status and code of the answer to a request of which the head alone is sent."""
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", path)
    connection.putheader("content-length", "1000000")
    if authorization:
        connection.putheader("authorization", authorization)
    connection.endheaders()
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said["code"]


@pytest.mark.parametrize("path", ["/v1/segments:count", "/v1/segments:members", "/v1/profiles:get"])
@pytest.mark.parametrize(
    ("which", "status", "code"),
    [("", 401, "key_missing"), ("unknown", 401, "key_unknown"), ("revoked", 401, "key_revoked"), ("web", 403, "")],
)
def test_a_question_under_a_key_that_may_not_ask_it_is_refused_before_its_body_has_come_in(
    gateway: GatewayCluster, keys: dict[str, str], path: str, which: str, status: int, code: str
) -> None:
    shown = f"Bearer {keys.get(which, 'cdp_000000000000_x')}" if which else ""
    found, said = _answer_without_body(gateway, path, shown)
    assert (found, said) == (status, code or "role_missing")


@pytest.mark.parametrize(("which", "status"), [("unknown", 401), ("revoked", 401), ("reader", 403)])
def test_records_under_a_key_in_a_header_that_is_not_taken_are_refused_before_their_body_has_come_in(
    gateway: GatewayCluster, keys: dict[str, str], which: str, status: int
) -> None:
    shown = f"Bearer {keys.get(which, 'cdp_000000000000_x')}"
    assert _answer_without_body(gateway, "/v1/batch", shown)[0] == status


def test_a_key_that_only_the_router_knows_may_ask(tmp_path: Path, keys: dict[str, str]) -> None:
    gate = KeyGate(KeyFile(Path(keys["path"])), FixedClock())
    with gateway_cluster(tmp_path, gate=gate, admits=lambda method, headers: False) as found:
        found.http.auth = None
        answers = [
            found.post("/v1/segments:count", {"text": "everyone"}, headers={"authorization": f"Bearer {keys[which]}"})
            for which in ("reader", "web")
        ]
        assert [each.status_code for each in answers] == [200, 403]
