"""Segment and RudderStack over HTTP: what the public SDKs need (G1 to G21), and what becomes of their calls."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from cdp_router.contract.values import from_value
from cdp_router.gateway.http_limits import BODY_BYTES_MAX, ITEMS_PER_REQUEST_MAX
from cdp_router.gateway.problems import busy
from cdp_store.outside.line_log import LineLog
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway; each test uses event names and ids of its own."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def track(event: str, user: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "userId": user, "properties": {}, **fields}


def batch(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"batch": list(items), **fields}


def properties(gateway: GatewayCluster, user: str) -> dict[str, Any]:
    """The properties of the only event of a user."""
    (event,) = gateway.profile(user_id=user).events
    return {key: from_value(value) for key, value in event.properties.items()}


def attributes(gateway: GatewayCluster, **name: Any) -> dict[str, Any]:
    return {key: from_value(value) for key, value in gateway.profile(**name).attributes.items()}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["batch", "b", "import"])
def test_g01_batches_are_taken_on_every_path(gateway: GatewayCluster, path: str, slash: str) -> None:
    event = f"g01 {path}{slash}"
    answer = gateway.post(f"/v1/{path}{slash}", batch(track(event, "u-1"), track(event, "u-2")))
    assert (answer.status_code, gateway.count(f'did("{event}")')) == (200, 2)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "path", ["track", "identify", "page", "screen", "group", "alias", "t", "i", "p", "s", "g", "a"]
)
def test_g01_single_calls_are_taken_on_every_path(gateway: GatewayCluster, path: str, slash: str) -> None:
    user = f"g01-{path}{len(slash)}"
    call = {
        "userId": user,
        "event": "e",
        "name": "n",
        "groupId": "g",
        "previousId": f"{user}-before",
        "traits": {"x": 1},
    }
    assert gateway.post(f"/v1/{path}{slash}", call).status_code == 200
    assert gateway.profile(user_id=user).identifiers
    assert not [letter for letter in gateway.letters() if letter.record.get("userId") == user]


def test_g01_metrics_and_settings_of_libraries_are_answered(gateway: GatewayCluster) -> None:
    assert gateway.post("/v1/m", {"series": []}).status_code == 200
    host = gateway.url.removeprefix("http://")
    settings = gateway.http.get(f"{gateway.url}/v1/projects/KEY/settings").json()
    assert settings["integrations"]["Segment.io"] == {"apiKey": "KEY", "apiHost": f"{host}/v1", "protocol": "http"}
    source = gateway.http.get(f"{gateway.url}/sourceConfig/?p=npm&writeKey=web").json()["source"]
    assert source["writeKey"] == "web" and source["enabled"] is True and source["destinations"] == []
    assert gateway.http.get(f"{gateway.url}/array/KEY/config").status_code == 200
    assert gateway.http.get(f"{gateway.url}/array/KEY/config.js").status_code == 200
    assert gateway.post("/flags/?v=2", {"api_key": "k"}).json()["featureFlags"] == {}
    assert gateway.post("/decide/?v=3", {"api_key": "k"}).json()["errorsWhileComputingFlags"] is False


def test_a_beacon_of_rudderstack_is_a_batch_with_its_key_in_the_query(gateway: GatewayCluster) -> None:
    """What its browser library sends with `useBeacon`: no header can go along."""
    gateway.http.auth = None
    try:
        answer = gateway.http.post(
            f"{gateway.url}/beacon/v1/batch?writeKey=web",
            data=json.dumps(batch(track("left by beacon", "u-1"))),
            headers={"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example"},
            timeout=30,
        )
    finally:
        gateway.http.auth = ("web", "")
    assert (answer.status_code, gateway.count('did("left by beacon")')) == (200, 1)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("path", ["/v1/batch/", "/v1//batch", "//v1/batch", "/v1/nothing/", "/V1/batch", "/v1/batch/."])
def test_g02_no_post_is_redirected(gateway: GatewayCluster, path: str) -> None:
    assert gateway.post(path, batch(track("g02", "u-1"))).status_code in (200, 404)


def test_g03_a_preflight_allows_whatever_header_is_asked_for(gateway: GatewayCluster) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,rsa-retry-attempt,x-never-heard-of",
    }
    answer = gateway.http.options(f"{gateway.url}/v1/t", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.headers["Access-Control-Allow-Headers"] == asked["Access-Control-Request-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/t", b'{"userId":"u","event":"g03"}'), ("/v1/t", b"?"), ("/none", b"{}")]
)
def test_g03_every_answer_can_be_read_by_a_page(gateway: GatewayCluster, path: str, body: bytes) -> None:
    answer = gateway.post(path, body, headers={"Origin": "https://shop.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"


@pytest.mark.parametrize(
    "type_", ["text/plain", "application/x-www-form-urlencoded", "application/json;charset=UTF-8", ""]
)
def test_g04_the_content_type_does_not_matter(gateway: GatewayCluster, type_: str) -> None:
    user = f"g04 {type_}"
    answer = gateway.post("/v1/batch", batch(track("g04", user)), headers={"Content-Type": type_})
    assert (answer.status_code, properties(gateway, user)) == (200, {})


def _zstd(body: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(body)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("", gzip.compress),
        ("", lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:])),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("zstd", _zstd),
    ],
)
def test_g05_compressed_bodies(gateway: GatewayCluster, encoding: str, compress: Any, request: Any) -> None:
    user = request.node.name
    headers = {"Content-Encoding": encoding} if encoding else {}
    answer = gateway.post("/v1/batch", compress(json.dumps(batch(track("g05", user))).encode()), headers=headers)
    assert (answer.status_code, properties(gateway, user)) == (200, {})


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"\x1f\x8b garbage"), ("deflate", b"x"), ("zstd", b"(")])
def test_g05_what_cannot_be_decompressed_is_a_clear_error(gateway: GatewayCluster, encoding: str, body: bytes) -> None:
    answer = gateway.post("/v1/batch", body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "decompress" in answer.json()["message"] or "ends too early" in answer.json()["message"]


def test_g06_large_bodies_are_taken_and_bombs_are_not(gateway: GatewayCluster) -> None:
    # 544:1 was measured of a real client, so that no ratio tells a bomb.
    padded = batch(*(track("g06", f"g06-{number}", properties={"pad": "x" * 8000}) for number in range(1250)))
    body = json.dumps(padded).encode()
    assert 10_000_000 < len(body) < BODY_BYTES_MAX
    assert gateway.post("/v1/batch", gzip.compress(body)).status_code == 200
    assert gateway.count('did("g06")') == 1250
    answer = gateway.post("/v1/batch", gzip.compress(b" " * (BODY_BYTES_MAX + 1)))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    answer = gateway.post("/v1/batch", batch(*[0] * (ITEMS_PER_REQUEST_MAX + 1)))
    assert answer.status_code == 413 and str(ITEMS_PER_REQUEST_MAX) in answer.json()["message"]


def test_g07_values_that_are_no_json_cost_no_other_event(gateway: GatewayCluster) -> None:
    items = b'{"type":"track","event":"g07","userId":"g07-%d","properties":{"x":%s}}'
    values = [b"NaN", b"-Infinity", b"1e999", b"9007199254740993", b'"\\ud800"', b'"\xff"', b"9" * 5000, b"-7.5"]
    body = b'{"batch":[' + b",".join(items % (number, value) for number, value in enumerate(values)) + b"]}"
    assert gateway.post("/v1/batch", body).status_code == 200
    assert [properties(gateway, f"g07-{number}") for number in (0, 1, 2, 3, 7)] == [
        *[{}] * 3,
        {"x": 9007199254740993},
        {"x": -7.5},
    ]
    assert {letter.record["userId"]: letter.code for letter in gateway.letters() if "g07" in str(letter.record)} == {
        "g07-4": "STRING_INVALID",
        "g07-5": "STRING_INVALID",
        "g07-6": "INTEGER_OUT_OF_RANGE",
    }


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"batch":5}', b"7", b"null", b'"x"', b"\xff\xfe"])
def test_g07_what_is_no_json_at_all_is_a_clear_error(gateway: GatewayCluster, body: bytes) -> None:
    answer = gateway.post("/v1/batch", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_g08_empty_ids_are_none_and_numbers_are_text(gateway: GatewayCluster) -> None:
    calls = [
        track("g08", "", anonymousId="g08-a"),
        {**track("g08", "g08-b"), "userId": None, "anonymousId": "g08-b"},
        {**track("g08", ""), "userId": 80_000_000_001, "anonymousId": None},
        {**track("g08", ""), "userId": 80_000_000_002.0, "anonymousId": ""},
        {"type": "group", "userId": "g08-g", "groupId": 12, "traits": {}},
    ]
    assert gateway.post("/v1/batch", batch(*calls)).status_code == 200
    for name in (
        {"anonymous_id": "g08-a"},
        {"anonymous_id": "g08-b"},
        {"user_id": "80000000001"},
        {"user_id": "80000000002"},
    ):
        assert gateway.profile(**name).event_count == 1
    assert attributes(gateway, user_id="g08-g") == {"group_id": "12"}


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query", "fields"),
    [
        (_basic("key-one:"), "", {}),
        (_basic("key-one"), "", {}),
        ({"Authorization": "Bearer key-one"}, "", {}),
        ({}, "", {"writeKey": "key-one"}),
        ({}, "", {"api_key": "key-one"}),
        ({}, "", {"token": "key-one"}),
        ({}, "?writeKey=key-one", {}),
        ({"Authorization": "Basic ???"}, "", {"writeKey": "key-one"}),
        ({"X-CleverTap-Account-Id": "key-one", "X-CleverTap-Passcode": "s"}, "", {}),
    ],
)
def test_g09_the_key_is_found_wherever_it_is(gateway: GatewayCluster, headers: Any, query: str, fields: Any) -> None:
    before = {letter.source for letter in gateway.letters()}
    gateway.http.auth = None
    try:
        answer = gateway.post(f"/v1/batch{query}", batch({"type": "wrong"}, **fields), headers=headers)
    finally:
        gateway.http.auth = ("web", "")
    assert answer.status_code == 200
    assert {letter.source for letter in gateway.letters()} - before <= {"key-one"}
    assert "key-one" in {letter.source for letter in gateway.letters()}


def test_g10_no_key_is_an_error_that_clients_know(gateway: GatewayCluster) -> None:
    gateway.http.auth = None
    try:
        answer = gateway.post("/v1/batch", batch(track("g10", "g10")))
    finally:
        gateway.http.auth = ("web", "")
    assert answer.status_code == 401 and "no write key was sent" in answer.text
    assert gateway.count('did("g10")') == 0


def test_g11_success_is_exactly_200_with_json(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/batch", batch(track("g11", "g11")))
    assert (answer.status_code, answer.json()) == (200, {"success": True})


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/batch", b"{"), ("/nowhere", b"{}"), ("/v1/batch", b" " * (BODY_BYTES_MAX + 1))]
)
def test_g12_every_error_has_code_and_message(gateway: GatewayCluster, path: str, body: bytes) -> None:
    answer = gateway.post(path, body)
    said = answer.json()
    assert answer.status_code >= 400 and answer.headers["Content-Type"] == "application/json"
    assert set(said) == {"code", "message", "error", "detail"} and all(
        isinstance(text, str) and text for text in said.values()
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_g12_other_methods_too(gateway: GatewayCluster, method: str) -> None:
    answer = gateway.http.request(method, f"{gateway.url}/v1/batch")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_g13_pressure_is_503_with_a_short_delay_and_nothing_is_taken_twice(gateway: GatewayCluster) -> None:
    call = batch(track("g13", "g13", messageId="g13"))
    gateway.faults.before.append(busy("no room", 0.25))
    gateway.faults.after.append(busy("an answer that got lost", 60))
    answers = [gateway.post("/v1/batch", call) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert [int(answer.headers["Retry-After"]) for answer in answers[:2]] == [1, 5]
    assert gateway.profile(user_id="g13").event_count == 1


def test_g14_no_status_that_clients_disagree_about(gateway: GatewayCluster) -> None:
    bodies = [b"", b"{", b"[]", b"{}", b'{"batch":{}}', b'{"batch":[]}', b'{"batch":[[]]}', b"\x1f\x8b"]
    found = {gateway.post(path, body).status_code for path in ("/v1/batch", "/v1/t", "/x", "/flags") for body in bodies}
    assert found <= {200, 400, 404}


def test_g15_bad_events_cost_no_good_ones_and_are_kept_with_the_reason(gateway: GatewayCluster) -> None:
    bad = {
        "TYPE_UNKNOWN": {"type": "g15", "userId": "u"},
        "EVENT_NAME_INVALID": {"type": "track", "userId": "u", "event": ""},
        "IDENTIFIER_MISSING": {"type": "track", "event": "g15"},
        "IDENTIFIER_INVALID": {"type": "track", "event": "g15", "userId": True},
        "IDENTIFIER_BLOCKED": {"type": "track", "event": "g15", "userId": "null"},
        "PROPERTIES_INVALID": {"type": "track", "event": "g15", "userId": "u", "properties": [1]},
        "TIME_INVALID": {"type": "track", "event": "g15", "userId": "u", "timestamp": "yesterday"},
        "TIME_IN_FUTURE": {"type": "track", "event": "g15", "userId": "u", "timestamp": "2150-01-01"},
        "STRING_TOO_LONG": {"type": "track", "event": "g15", "userId": "u", "properties": {"x": "y" * 1_100_000}},
        "TOO_MANY_PROPERTIES": {
            "type": "track",
            "event": "g15",
            "userId": "u",
            "properties": {f"p{n}": 1 for n in range(257)},
        },
        "NESTING_TOO_DEEP": {
            "type": "track",
            "event": "g15",
            "userId": "u",
            "properties": {"a": {"b": {"c": {"d": 1}}}},
        },
        "RECORD_TOO_LARGE": {"type": "track", "event": "g15", "userId": "u", "properties": {"x": "y" * 5_000_000}},
        "RECORD_MALFORMED": "g15",
    }
    items = list[Any]()
    for number, each in enumerate(bad.values()):
        items += [each, track("g15", f"g15-{number}")]
    before = len(gateway.letters())
    assert gateway.post("/v1/batch", batch(*items)).status_code == 200
    assert gateway.count('did("g15")') == len(bad)
    letters = gateway.letters()[before:]
    assert [letter.code for letter in letters] == list(bad)
    assert all(letter.message and letter.source == "web" and letter.dialect == "segment" for letter in letters)
    sent = [{key: value for key, value in letter.record.items() if key != "messageId"} for letter in letters[:-1]]
    assert sent == list(bad.values())[:-1]


def test_g16_an_answer_of_200_means_that_the_next_question_sees_it(gateway: GatewayCluster) -> None:
    for number in range(5):
        assert gateway.post("/v1/t", track("g16", f"g16-{number}")).status_code == 200
        assert gateway.count('did("g16")') == number + 1


def test_g16_dead_letters_that_cannot_be_kept_are_no_success(
    gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LineLog, "append", full)
        answer = gateway.post(
            "/v1/batch", batch(track("g16 full", "g16-f", messageId="g16-f"), {"type": "?", "messageId": "?"})
        )
    assert answer.status_code == 503 and "Retry-After" in answer.headers


def test_g17_a_message_is_taken_once_from_each_source(gateway: GatewayCluster) -> None:
    call = track("g17", "g17", messageId="the same")
    for key in ("one", "two", "one", "two"):
        gateway.post("/v1/t", call, auth=(key, ""))
    # Sent once more together, from one source that has ids too long for the store, which differ at their ends.
    long = [track("g17", "g17", messageId="m" * 200 + end) for end in ("a", "b", "a")]
    gateway.post("/v1/batch", batch(*long))
    assert gateway.profile(user_id="g17").event_count == 4


def test_g17_copies_that_come_at_once_are_taken_once(gateway: GatewayCluster) -> None:
    from concurrent.futures import ThreadPoolExecutor

    body = batch(*(track("g17 at once", "g17-c", messageId=f"g17-{number}") for number in range(50)))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: gateway.post("/v1/batch", body).status_code, range(8)))
    assert answers == [200] * 8
    assert gateway.profile(user_id="g17-c").event_count == 50


def test_g18_order_of_arrival_does_not_matter(gateway: GatewayCluster) -> None:
    calls = [
        track("g18", "", anonymousId="g18-a#", timestamp="2026-01-01T10:00:00Z", messageId="m1#"),
        {
            "type": "identify",
            "userId": "g18-u#",
            "anonymousId": "g18-a#",
            "traits": {"plan": "free"},
            "messageId": "m2#",
            "timestamp": "2026-01-01T11:00:00Z",
        },
        {
            "type": "identify",
            "userId": "g18-u#",
            "traits": {"plan": "gold"},
            "messageId": "m3#",
            "timestamp": "2026-01-01T12:00:00Z",
        },
        {
            "type": "alias",
            "userId": "g18-u#",
            "previousId": "g18-b#",
            "messageId": "m4#",
            "timestamp": "2026-01-01T12:00:00Z",
        },
        track("g18", "", anonymousId="g18-b#", timestamp="2026-01-01T13:00:00Z", messageId="m5#"),
    ]
    seen = list[Any]()
    for name, order in (("x", (0, 1, 2, 3, 4)), ("y", (4, 3, 2, 1, 0)), ("z", (2, 0, 4, 1, 3))):
        for index in order:
            gateway.post("/v1/batch", batch(json.loads(json.dumps(calls[index]).replace("#", name))))
        profile = gateway.profile(user_id=f"g18-u{name}")
        seen.append((attributes(gateway, user_id=f"g18-u{name}"), [event.time.seconds for event in profile.events]))
    assert seen[0] == seen[1] == seen[2] == ({"plan": "gold"}, [1767272400, 1767261600])


def test_g19_an_alias_to_itself_is_taken_and_changes_nothing(gateway: GatewayCluster) -> None:
    before = len(gateway.letters())
    assert gateway.post("/v1/a", {"userId": "g19", "previousId": "g19"}).status_code == 200
    assert len(gateway.letters()) == before
    assert [each.value for each in gateway.profile(user_id="g19").identifiers] == ["g19"]


def test_g21_sources_are_told_apart_by_key_and_not_by_user_agent(gateway: GatewayCluster) -> None:
    for key in ("g21-one", "g21-two"):
        gateway.post("/v1/t", {"type": 1, "event": 1}, auth=(key, ""), headers={"User-Agent": "analytics-python/2.4.0"})
    assert {letter.source for letter in gateway.letters()} >= {"g21-one", "g21-two"}


def test_identify_takes_traits_from_the_context_too_and_links_what_it_names(gateway: GatewayCluster) -> None:
    call = {
        "type": "identify",
        "userId": "id-u",
        "anonymousId": "id-a",
        "traits": {"plan": "gold", "address": {"city": "Paris"}, "tags": ["a", "b"]},
        "context": {
            "traits": {"plan": "free", "email": "id@x.org"},
            "externalIds": [{"id": "7", "type": "crm.id", "collection": "users", "encoding": "none"}, {"id": "x"}, 5],
        },
    }
    assert gateway.post("/v1/batch", batch(track("linked", "", anonymousId="id-a"), call)).status_code == 200
    expected = {"plan": "gold", "address.city": "Paris", "tags": ["a", "b"], "email": "id@x.org"}
    for name in ({"user_id": "id-u"}, {"anonymous_id": "id-a"}):
        assert attributes(gateway, **name) == expected
        assert gateway.profile(**name).event_count == 1
    for kind, value in (("email", "id@x.org"), ("crm_id", "7")):
        assert gateway.profile(other={"kind": kind, "value": value}).event_count == 1


def test_pages_and_screens_are_events_with_their_names(gateway: GatewayCluster) -> None:
    calls = [
        {
            "type": "page",
            "userId": "page-u",
            "name": "Home",
            "category": "Docs",
            "properties": {"url": "/x", "category": "own"},
        },
        {"type": "screen", "userId": "screen-u", "name": "Cart", "properties": None},
    ]
    assert gateway.post("/v1/batch", batch(*calls)).status_code == 200
    assert properties(gateway, "page-u") == {"name": "Home", "category": "own", "url": "/x"}
    assert properties(gateway, "screen-u") == {"name": "Cart"}
    assert gateway.count('did("Page", name = "Home") and not did("Screen")') == 1


def test_traits_of_a_group_are_a_profile_of_their_own_that_members_refer_to(gateway: GatewayCluster) -> None:
    call = {"type": "group", "userId": "grp-u", "groupId": "acme", "traits": {"industry": "shoes"}, "messageId": "grp"}
    for _ in range(2):
        assert gateway.post("/v1/batch", batch(call)).status_code == 200
    assert attributes(gateway, user_id="grp-u") == {"group_id": "acme"}
    group = {"kind": "group_id", "value": "acme"}
    assert attributes(gateway, other=group) == {"industry": "shoes", "profile_type": "group"}
    assert gateway.count('group_id = "acme"') == 1


def test_context_of_a_batch_holds_for_its_items(gateway: GatewayCluster) -> None:
    calls = [
        {"type": "identify", "userId": "ctx-1"},
        {"type": "identify", "userId": "ctx-2", "context": {"traits": {"a": 2}}},
    ]
    gateway.post("/v1/batch", batch(*calls, context={"traits": {"a": 1}}))
    assert [attributes(gateway, user_id=user) for user in ("ctx-1", "ctx-2")] == [{"a": 1}, {"a": 2}]


def _iso(ms: int) -> str:
    from cdp_store.values import to_datetime

    return to_datetime(ms).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("fields", "ago"),
    [
        ({}, 0),
        ({"timestamp": 5}, 5),
        ({"originalTimestamp": 5}, 5),
        ({"timestamp": 5, "sentAt": 0.01}, 5),  # no wrong clock: a retry of the same bytes
        ({"timestamp": 5, "sentAt": 3}, 2),  # the client's clock is three hours behind
        ({"timestamp": 1, "sentAt": -3}, 4),  # and ahead
        ({"originalTimestamp": 5, "timestamp": 7, "sentAt": 3}, 7),  # given by the caller
        ({"timestamp": None, "sentAt": 3}, 0),
    ],
)
@pytest.mark.parametrize("envelope", [False, True])
def test_times_are_corrected_by_the_clock_of_the_sender(
    gateway: GatewayCluster, fields: dict[str, float | None], ago: float, envelope: bool, request: Any
) -> None:
    user, now = request.node.name, gateway.cluster.clock.now
    written = {key: None if hours is None else _iso(int(now - hours * HOUR_MS)) for key, hours in fields.items()}
    sent = {"sentAt": written.pop("sentAt")} if envelope and "sentAt" in written else {}
    for _ in range(2):  # a duplicate must not move it
        gateway.post("/v1/batch", batch(track("times", user, messageId=user, **written), **sent))
    (event,) = gateway.profile(user_id=user).events
    assert event.time.ToMilliseconds() == now - ago * HOUR_MS


_NODE = {"context": {"library": {"name": "@segment/analytics-node", "version": "3.1.0"}}}


@pytest.mark.parametrize(
    ("sent", "hours_ago", "seen"),
    [
        (2, [0], [0]),  # the event is younger than its sending, which cannot be true
        (2, [1], [1]),
        (2, [3, 1], [3, 1]),  # nor is it for the others of the request
        (5, [5, 7], [0, 2]),  # a clock that is five hours behind
        (-5, [-5, -3], [0, 2]),  # five hours ahead
        (72, [73], [1]),  # days behind
        (-72, [-71], [1]),  # days ahead
        (24 * 400, [24 * 400 + 1], [24 * 400 + 1]),  # an archive that is played back
        (-24 * 400, [-24 * 400 + 1], [1]),
        (24 * 365 * 40, [24 * 365 * 40 + 1], [1]),  # a clock that was reset
    ],
)
@pytest.mark.parametrize("form", ["envelope", "each", "unusual"])
def test_a_time_of_sending_counts_where_it_can_be_true(
    gateway: GatewayCluster, sent: float, hours_ago: list[float], seen: list[float], form: str, request: Any
) -> None:
    user, now = request.node.name, gateway.cluster.clock.now
    told = {"sentAt": _iso(now - int(sent * HOUR_MS))}
    calls = [
        track("skew", user, messageId=f"{user}-{n}", timestamp=_iso(now - int(each * HOUR_MS)))
        for n, each in enumerate(hours_ago)
    ]
    if form == "each":
        calls, told = [{**call, **told} for call in calls], {}
    if form == "unusual":
        told["context"] = {"a": 1}  # type: ignore[assignment]
    assert gateway.post("/v1/batch", batch(*calls, **told)).status_code == 200
    found = sorted(now - event.time.ToMilliseconds() for event in gateway.profile(user_id=user).events)
    assert found == sorted(int(each * HOUR_MS) for each in seen)


@pytest.mark.parametrize(("fields", "hours_ago"), [(_NODE, 3), ({"channel": "server"}, 3), ({"channel": "web"}, 1)])
@pytest.mark.parametrize("unusual", [{}, {"context": {"a": 1}}])
def test_a_server_that_sends_old_bytes_again_moves_nothing(
    gateway: GatewayCluster, fields: dict[str, Any], hours_ago: int, unusual: dict[str, Any], request: Any
) -> None:
    user, now = request.node.name, gateway.cluster.clock.now
    call = track("again", user, messageId=user, timestamp=_iso(now - 3 * HOUR_MS), **fields)
    assert gateway.post("/v1/batch", batch(call, sentAt=_iso(now - 2 * HOUR_MS), **unusual)).status_code == 200
    (event,) = gateway.profile(user_id=user).events
    assert now - event.time.ToMilliseconds() == hours_ago * HOUR_MS


def test_a_time_of_sending_in_a_header_is_that_of_the_attempt(gateway: GatewayCluster) -> None:
    now = gateway.cluster.clock.now
    call = track("fresh", "fresh-u", timestamp=_iso(now - 3 * HOUR_MS), channel="server")
    headers = {"SentAt": _iso(now - 2 * HOUR_MS)}
    assert gateway.post("/v1/batch", batch(call, sentAt=_iso(now - 3 * HOUR_MS)), headers=headers).status_code == 200
    (event,) = gateway.profile(user_id="fresh-u").events
    assert now - event.time.ToMilliseconds() == HOUR_MS


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("1795112100000", 1795112100000),
        ("1712011200000", 1712011200000),
        ("1767323045678000", 1767323045678),
        ("20260102", 1767312000000),
        (20260102, 1767312000000),
        ("2026-01-02T03:04:05.678+00:00", 1767323045678),
        ("2026-01-02T03:04:05.678901Z", 1767323045678),
        ("2026-01-02T05:04:05+02:00", 1767323045000),
        ("2026-01-02", 1767312000000),
        (1767323045, 1767323045000),
        (1767323045.5, 1767323045500),
        (1767323045678, 1767323045678),
        ("1767323045", 1767323045000),
    ],
)
def test_times_are_read_as_clients_write_them(gateway: GatewayCluster, written: Any, ms: int, request: Any) -> None:
    gateway.post("/v1/t", track("written", request.node.name, timestamp=written))
    assert gateway.profile(user_id=request.node.name).events[0].time.ToMilliseconds() == ms


def test_many_small_requests_become_few_batches(gateway: GatewayCluster) -> None:
    from concurrent.futures import ThreadPoolExecutor

    before = len(gateway.batches)
    with ThreadPoolExecutor(32) as threads:
        answers = list(
            threads.map(lambda n: gateway.post("/v1/t", track("small", f"small-{n}")).status_code, range(150))
        )
    assert answers == [200] * 150
    assert gateway.count('did("small")') == 150
    assert len(gateway.batches) - before < 150


def test_a_connection_without_a_request_is_closed(gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_router.gateway.connections.READ_SECONDS", 0.05)
    parts = urlsplit(gateway.url)
    for sent in (b"", b"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""


def test_a_head_without_end_is_cut_off(gateway: GatewayCluster) -> None:
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(b"POST /v1/t HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"X-Long: %s\r\n" % (b"x" * 1000))


def test_a_body_that_does_not_come_is_given_up_and_others_are_served(tmp_path: Path) -> None:
    from cdp_router.gateway.request_bytes import Bodies

    with gateway_cluster(tmp_path, bodies=Bodies(bytes_max=100_000, read_seconds=0.5)) as gateway:
        parts = urlsplit(gateway.url)
        head = b"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
            connection.sendall(head + b"x" * 60_000)
            while (
                answer := gateway.post("/v1/t", track("big", "u", properties={"x": "y" * 50_000}))
            ).status_code == 200:
                pass  # until the first bytes have been read
            assert answer.status_code == 503
            assert gateway.post("/v1/t", track("small", "u")).status_code == 200
            assert b" 503 " in connection.recv(1000)
        assert gateway.post("/v1/t", track("big", "u2", properties={"x": "y" * 5000})).status_code == 200
