"""Questions over HTTP: the same answers as over gRPC, clear errors, a document that is true, and never a 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
import pytest
from cdp.v1 import query_pb2
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.errors import Overloaded, ProfileNotFound, Unauthenticated
from cdp_router.gateway import query_side
from cdp_router.gateway.openapi import document
from cdp_router.gateway.query_side import ARROW, NDJSON, STATUSES
from cdp_router.rpc.call import Call
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster


class WatchingGate:
    """Lets in whatever comes with a certain key, or everybody while none is asked for."""

    def __init__(self) -> None:
        self.key, self.is_full = "", False

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        shown = dict(metadata).get("authorization", "")
        if self.key and shown != f"Bearer {self.key}":
            raise Unauthenticated("KEY_UNKNOWN", "the API key is not known here")
        if self.is_full:
            raise Overloaded("as many questions wait as can", 2000)

    def renew(self, call: Call) -> None:
        """Nothing ends."""


GATE = WatchingGate()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """Twenty users, of whom every other one bought."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway"), gate=GATE) as found:
        calls = [{"type": "identify", "userId": f"u-{n:02}", "traits": {"plan": ["a", "b"][n % 2]}} for n in range(20)]
        calls += [
            {"type": "track", "event": "Bought", "userId": f"u-{n:02}", "properties": {"x": n}} for n in range(0, 20, 2)
        ]
        assert found.post("/v1/batch", {"batch": calls}).status_code == 200
        found.http.auth = None
        yield found


@pytest.mark.parametrize("name", ["asOf", "as_of"])
@pytest.mark.parametrize(
    ("given", "tz", "iso"),
    [
        ("2018-01-01", "", "2018-01-01T00:00:00Z"),
        ("2018-01-01", "Asia/Tokyo", "2017-12-31T15:00:00Z"),
        ("2018-01-01T12:00", "Asia/Tokyo", "2018-01-01T03:00:00Z"),
        ("2018-01-01T12:00:00.5Z", "", "2018-01-01T12:00:00.500Z"),
        ("2018-01-01 12:00+02:00", "", "2018-01-01T10:00:00Z"),
    ],
)
def test_the_instant_asked_about_may_be_a_date(
    gateway: GatewayCluster, name: str, given: str, tz: str, iso: str
) -> None:
    for path in ("/v1/segments:count", "/v1/reports:run"):
        answer = gateway.post(path, {"text": "everyone", name: given, "tz": tz})
        assert answer.status_code == 200 and answer.json()["asOf"] == iso
    proof = {"text": "everyone", name: given, "tz": tz, "userId": "u-01"}
    assert gateway.post("/v1/segments:explainUser", proof).json()["asOf"] == iso
    assert gateway.post("/v1/segments:members", {"text": "everyone", name: given, "tz": tz}).status_code == 200


@pytest.mark.parametrize("given", ["2018-01", "soon", "", 5, None, {"a": 1}])
def test_an_instant_that_is_none_is_told(gateway: GatewayCluster, given: Any) -> None:
    answer = gateway.post("/v1/segments:count", {"text": "everyone", "asOf": given})
    assert answer.status_code == (200 if given is None else 400)
    if isinstance(given, str):
        assert "2026-01-31" in answer.json()["message"]
    twice = b'{"text": "everyone", "asOf": "2018-01-01", "asOf": "2019-01-01"}'
    assert gateway.post("/v1/segments:count", twice).status_code == 400


def test_a_count_is_the_message_of_the_contract_as_json(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/segments:count", {"text": 'did("Bought")', "by": "plan"})
    assert answer.status_code == 200
    response = json_format.Parse(answer.content, query_pb2.QueryResponse())
    assert (response.count, response.population, response.exact) == (10, 20, True)
    assert [(row.value.text, row.count) for row in response.breakdown] == [("a", 10)]
    tree = {"tree": json_format.MessageToDict(response.question)}
    assert gateway.post("/v1/segments:count/", tree).json()["count"] == "10"


def test_reports_profiles_and_proofs(gateway: GatewayCluster) -> None:
    funnel = gateway.post("/v1/reports:run", {"text": 'funnel("Bought" -> "Bought", within: 7d)'}).json()
    assert [step.get("count", "0") for step in funnel["funnel"]] == ["10", "0"]
    profile = gateway.post("/v1/profiles:get", {"userId": "u-04"}).json()
    assert profile["attributes"]["plan"] == {"text": "a"} and profile["events"][0]["name"] == "Bought"
    found = gateway.post("/v1/profiles:batchGet", {"names": [{"userId": "u-04"}, {"userId": "nobody"}]}).json()
    assert [("profile" in each) for each in found["results"]] == [True, False]
    events = gateway.post("/v1/profiles:listEvents", {"name": {"userId": "u-04"}}).json()["events"]
    assert [each["properties"] for each in events] == [{"x": {"integer": "4"}}]
    proof = gateway.post("/v1/segments:explainUser", {"text": 'did("Bought")', "userId": "u-04"})
    assert (proof.status_code, proof.json()["member"]) == (200, True)


def test_members_come_as_lines_with_what_they_cover_at_the_end(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/segments:members", {"text": 'did("Bought")'})
    assert answer.headers["Content-Type"] == NDJSON
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(line["id"] for line in lines) == [f"u-{n:02}" for n in range(0, 20, 2)]
    assert {line["kind"] for line in lines} == {"user_id"} and len(last["coverage"]["answered"]) == 4


def test_members_come_with_attributes(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/segments:members", {"text": 'plan = "b"', "attributes": ["plan"]})
    *lines, _ = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == 10 and {line["plan"] for line in lines} == {"b"}
    wrong = gateway.post("/v1/segments:members", {"text": "everyone", "attributes": ["plam"]})
    assert (wrong.status_code, "did you mean 'plan'" in wrong.json()["message"]) == (400, True)


def test_members_come_as_an_arrow_stream(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/segments:members", {"text": "everyone"}, headers={"Accept": ARROW})
    assert answer.headers["Content-Type"] == ARROW
    with pa.ipc.open_stream(answer.content) as reader:
        assert reader.read_all().num_rows == 20


@pytest.mark.parametrize("path", ["/v1/segments:count", "/v1/segments:members"])
@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"text": "did("}, 400, "did("),
        ({"txet": "everyone"}, 400, "txet"),
        ({"text": 7}, 400, "text"),
        (b"{", 400, "no"),
        (b"\xff", 400, "no"),
        ({}, 400, "question"),
        (b" " * (1 << 21), 413, "bytes"),
        (b'{"segment":' + b'{"not":' * 5000, 400, "no"),
    ],
)
def test_what_cannot_be_asked_is_a_clear_error(
    gateway: GatewayCluster, path: str, body: Any, status: int, part: str
) -> None:
    answer = gateway.post(path, body)
    assert (answer.status_code, part in answer.json()["message"]) == (status, True), answer.text


def test_a_profile_that_is_not_there_is_404(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/profiles:get", {"userId": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "profile_not_found")


def test_the_key_goes_on_to_the_router(gateway: GatewayCluster) -> None:
    GATE.key = "cdp_key"
    try:
        refused = gateway.post("/v1/segments:count", {"text": "everyone"})
        taken = gateway.post("/v1/segments:members", {"text": "everyone"}, headers={"Authorization": "Bearer cdp_key"})
    finally:
        GATE.key = ""
    assert (refused.status_code, refused.json()["code"], taken.status_code) == (401, "key_unknown", 200)


def test_a_busy_cluster_says_when_to_come_back(gateway: GatewayCluster) -> None:
    GATE.is_full = True
    try:
        answer = gateway.post("/v1/segments:count", {"text": "everyone"})
    finally:
        GATE.is_full = False
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")


def test_no_other_site_may_ask(gateway: GatewayCluster) -> None:
    answer = gateway.post("/v1/segments:count", {"text": "everyone"}, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = gateway.http.options(f"{gateway.url}/v1/profiles:get", headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 405


def test_the_document_is_served_and_names_every_route(gateway: GatewayCluster) -> None:
    served = gateway.http.get(f"{gateway.url}/openapi.json").json()
    assert served == document()
    references = {each.rpartition("/")[2] for each in _references(served)}
    assert references <= set(served["components"]["schemas"])
    for path in served["paths"]:
        assert gateway.post(path, {}).status_code in (200, *STATUSES)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else ())
        for each in value.values():
            yield from _references(each)
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    "type event userId anonymousId previousId groupId properties traits context timestamp originalTimestamp sentAt "
    "messageId batch d api_key token distinct_id uuid $set $set_once $unset $anon_distinct_id alias options offset "
    "identity objectId ts evtName evtData profileData externalIds $group_type $group_key $time".split()
)
_VALUES = _JSON | st.sampled_from(
    "track identify page group alias event profile $identify $create_alias $groupidentify $set u-1 2026-01-01".split()
)
_OBJECTS = st.dictionaries(_FIELDS, _VALUES | st.dictionaries(_FIELDS, _VALUES, max_size=4), max_size=6)
_PATHS = st.sampled_from(
    ["/v1/batch", "/v1/t", "/v1/i", "/v1/g", "/v1/a", "/batch", "/e", "/i/v1/analytics/events", "/1/upload"]
)


@given(_PATHS, st.lists(_OBJECTS | _JSON, max_size=4), st.sampled_from(["batch", "d", ""]), st.integers(0, 4))
@settings(max_examples=60)
def test_no_body_is_an_error_of_ours_or_costs_a_good_record(
    gateway: GatewayCluster, path: str, items: list[Any], name: str, place: int
) -> None:
    good = {
        "/1/upload": {"type": "event", "evtName": "fuzz", "identity": "u-fuzz"},
        "/v1": {"type": "track", "event": "fuzz", "userId": "u-fuzz"},
    }.get(path if path == "/1/upload" else path[:3], {"event": "fuzz", "distinct_id": "u-fuzz"})
    body: Any = {name: [*items[:place], good, *items[place:]]} if name else (items[0] if items else {})
    before = _fuzzed(gateway)
    answer = gateway.post(path, json.dumps(body).encode(), auth=("fuzz", ""))
    assert answer.status_code in (200, 400), answer.text
    is_batch = (name == "batch" and path not in ("/v1/t", "/v1/i", "/v1/g", "/v1/a", "/1/upload")) or (
        name == "d" and path == "/1/upload"
    )
    if is_batch:
        assert answer.status_code == 200
        assert _fuzzed(gateway) == before + 1


def _fuzzed(gateway: GatewayCluster) -> int:
    try:
        return int(gateway.profile(user_id="u-fuzz").event_count)
    except ProfileNotFound:
        return 0


@given(_PATHS, st.binary(max_size=40), st.sampled_from(["", "gzip", "deflate", "zstd", "br", "?"]))
@settings(max_examples=60)
def test_no_bytes_are_an_error_of_ours(gateway: GatewayCluster, path: str, body: bytes, encoding: str) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    answer = gateway.post(path, body, headers=headers, auth=("fuzz", ""))
    assert answer.status_code in (200, 400) and answer.json()


@pytest.mark.parametrize("work", ["parsed", "json_format.MessageToJson"])
def test_long_questions_and_answers_are_read_and_written_beside_the_event_loop(
    gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    begun, others_served = threading.Event(), threading.Event()
    module = "cdp_router.gateway.query_side."
    real: Any = getattr(query_side, work) if work == "parsed" else json_format.MessageToJson

    def held(*arguments: Any, **named: Any) -> Any:
        begun.set()
        assert others_served.wait(60), "the event loop waits for it"
        return real(*arguments, **named)

    monkeypatch.setattr(module + work, held)
    question = {"text": "x in [" + ", ".join(map(str, range(5000))) + "]"}
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(gateway.post, "/v1/segments:count", question)
        assert begun.wait(60)
        assert gateway.http.get(gateway.url + "/health", timeout=30).status_code == 200
        others_served.set()
        assert asked.result(60).status_code == 200


@pytest.mark.parametrize("field", [{"Authorization": "Bearer a\tb"}, {"Authorization": "Bearer " + "k" * 40_000}])
def test_a_key_that_can_be_none_is_refused_and_neither_an_error_of_ours_nor_to_be_sent_again(
    gateway: GatewayCluster, field: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GATE, "key", "right")
    assert gateway.post("/v1/segments:count", {"text": "everyone"}, headers=field).status_code == 401


@pytest.mark.parametrize("request_id", ["a\tb", "x" * 40_000])
def test_an_id_that_cannot_stand_in_logs_is_left_out(gateway: GatewayCluster, request_id: str) -> None:
    answer = gateway.post("/v1/segments:count", {"text": "everyone"}, headers={"X-Request-Id": request_id})
    assert answer.status_code == 200
