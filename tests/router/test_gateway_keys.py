"""Write keys are API keys with the role ingest, wherever an SDK puts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdp_router.gateway.credentials import KeySources
from cdp_router.security.key_file import KeyFile, change_keys
from cdp_router.security.key_list import KeyList
from cdp_router.security.principal import Role
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
    sources = KeySources(KeyFile(Path(keys["path"])), FixedClock())
    with gateway_cluster(tmp_path_factory.mktemp("gateway"), sources) as found:
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
