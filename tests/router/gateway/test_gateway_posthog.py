"""PostHog's libraries over HTTP: captures of every shape they have, and what becomes of them."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cdp.v1 import ingest_pb2

from cdp_router.contract.values import from_value
from cdp_router.errors import RequestInvalid
from cdp_router.gateway.dialects.distinct_ids import checked_pattern, looks_made_up
from cdp_router.gateway.dialects.posthog import LINK_REFUSED
from cdp_router.gateway.http_limits import BODY_BYTES_MAX
from cdp_router.gateway.letters.dead_letters import DeadLetter
from cdp_router.gateway.letters.redriving import redrive
from cdp_router.gateway.write_keys import AnySource
from cdp_store.values import to_datetime
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

UUID = "0192f3a4-5b6c-7d8e-9f00-{:012d}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway; each test uses event names and ids of its own."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        found.http.auth = None
        yield found


def capture(event: str, distinct_id: Any, **fields: Any) -> dict[str, Any]:
    return {"event": event, "distinct_id": distinct_id, "properties": {}, **fields}


def send(gateway: GatewayCluster, *items: Any, path: str = "/batch/", **fields: Any) -> Any:
    answer = gateway.post(path, {"api_key": "ph", "batch": list(items), **fields})
    assert answer.status_code == 200
    return answer.json()


def attributes(gateway: GatewayCluster, **name: Any) -> dict[str, Any]:
    return {key: from_value(value) for key, value in gateway.profile(**name).attributes.items()}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["/batch", "/capture", "/e", "/i/v0/e", "/i/v1/analytics/events"])
def test_g01_captures_are_taken_on_every_path(gateway: GatewayCluster, path: str, slash: str) -> None:
    event = f"g01 {path}{slash}"
    single = {"api_key": "ph", **capture(event, "g01-1")}
    many = {"api_key": "ph", "batch": [capture(event, "g01-2"), capture(event, "g01-3")]}
    listed = [capture(event, "", properties={"token": "ph", "distinct_id": "g01-4"})]
    for body in (single, many, listed):
        assert gateway.post(f"{path}{slash}?v=3&ip=1", body).status_code == 200
    assert gateway.count(f'did("{event}")') == 4


def test_g05_gzip_without_its_header(gateway: GatewayCluster) -> None:
    body = gzip.compress(json.dumps({"api_key": "ph", "batch": [capture("g05", "g05")]}).encode())
    assert gateway.post("/e/?compression=gzip-js", body, headers={"Content-Type": "text/plain"}).status_code == 200
    assert gateway.profile(user_id="g05").event_count == 1


def test_g09_the_key_is_in_the_body_or_a_bearer(gateway: GatewayCluster) -> None:
    assert gateway.post("/batch/", {"batch": [capture("g09", "g09")]}).status_code == 401
    headers = {"Authorization": "Bearer ph"}
    assert (
        gateway.post("/i/v1/analytics/events", {"batch": [capture("g09", "g09")]}, headers=headers).status_code == 200
    )


def test_g11_the_newer_form_tells_of_every_event(gateway: GatewayCluster) -> None:
    good, bad = capture("g11", "g11", uuid=UUID.format(1)), capture("", "g11", uuid=UUID.format(2))
    nobody = capture("g11", "$posthog_cookieless", uuid=UUID.format(3))
    results = send(gateway, good, bad, nobody, 5, path="/i/v1/analytics/events")["results"]
    assert {uuid: result["result"] for uuid, result in results.items()} == {
        UUID.format(1): "ok",
        UUID.format(2): "drop",
        UUID.format(3): "warning",
    }
    assert "EVENT_NAME_INVALID" in results[UUID.format(2)]["details"]
    assert gateway.profile(user_id="g11").event_count == 1


def test_g17_the_uuid_keeps_an_event_from_being_taken_twice(gateway: GatewayCluster) -> None:
    item = capture("g17", "g17", uuid=UUID.format(17), properties={"$set": {"a": 1}})
    for _ in range(3):
        send(gateway, item)
    assert gateway.profile(user_id="g17").event_count == 1
    assert attributes(gateway, user_id="g17") == {"a": 1}


def _calls(name: str) -> list[dict[str, Any]]:
    """A visit, a login, and an alias as each library sends it."""
    device, other, old = (UUID.format(int(name, 36) * 10 + n) for n in range(3))
    python, node = {"$lib": "posthog-python"}, {"$lib": "posthog-node"}
    return [
        capture("seen", device, properties={"$device_id": device}, uuid=f"1{name}"),
        capture(
            "$identify",
            f"u-{name}",
            properties={"$anon_distinct_id": device},
            **{"$set": {"plan": "gold"}},
            uuid=f"2{name}",
        ),
        capture("seen", f"u-{name}", properties={"$device_id": device}, uuid=f"3{name}"),
        capture("seen", other, uuid=f"4{name}"),
        capture("$create_alias", other, properties={"alias": f"u-{name}", **python}, uuid=f"5{name}"),
        capture("seen", old, uuid=f"6{name}"),
        capture("$create_alias", f"u-{name}", properties={"alias": old, **node}, uuid=f"7{name}"),
        capture("seen", f"anon-{name}", uuid=f"8{name}"),
        capture("$create_alias", f"anon-{name}", properties={"alias": f"u-{name}", **python}, uuid=f"9{name}"),
    ]


@pytest.mark.parametrize("name", [f"g{number}" for number in range(4)])
def test_g18_g19_people_become_one_in_any_order_and_direction(gateway: GatewayCluster, name: str) -> None:
    calls = _calls(name)
    orders = [calls, calls[::-1], calls[1::2] + calls[::2], calls[4:] + calls[:4]]
    for each in orders[int(name[1])]:
        send(gateway, each)
    profile = gateway.profile(user_id=f"u-{name}")
    assert (profile.event_count, attributes(gateway, user_id=f"u-{name}")) == (5, {"plan": "gold"})
    people = gateway.cluster.members('did("seen")')[0]
    assert [each for each in people if name in each[1]] == [("user_id", f"u-{name}")]


def test_g19_a_user_whose_id_looks_made_up_is_still_one_person(gateway: GatewayCluster) -> None:
    device, user = UUID.format(1901), UUID.format(1902)
    calls = [
        capture("g19", user, uuid="a19"),  # a server that knows the user by that id
        capture("g19", device, properties={"$device_id": device}, uuid="b19"),
        capture("$identify", user, properties={"$anon_distinct_id": device}, uuid="c19"),
    ]
    for each in calls:
        send(gateway, each)
    assert gateway.profile(user_id=user).event_count == 2
    assert gateway.count('did("g19")') == 1


def test_g20_no_profile_is_made_of_visitors_without_cookies_nor_of_the_ids_of_groups(gateway: GatewayCluster) -> None:
    before = gateway.count("everyone")
    send(
        gateway,
        capture("g20", "$posthog_cookieless", properties={"$process_person_profile": False}),
        capture("g20", "g20-b", properties={"$cookieless_mode": True}),
        capture(
            "$groupidentify",
            UUID.format(20),
            properties={"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 7}},
        ),
    )
    assert gateway.count("everyone") == before + 1
    group = {"kind": "group_company", "value": "acme"}
    assert attributes(gateway, other=group) == {"size": 7, "profile_type": "group", "group_type": "company"}


def test_changes_of_people_come_at_either_place_and_with_events(gateway: GatewayCluster) -> None:
    send(
        gateway,
        capture("$set", "set-u", timestamp="2026-01-01T00:00:00Z", **{"$set": {"a": 1, "b": 2, "email": "set@x.org"}}),
        capture("$set", "set-u", timestamp="2026-01-02T00:00:00Z", properties={"$set": {"b": 3}, "$unset": ["a"]}),
        capture("bought", "set-u", properties={"price": 2.5, "$set": {"c": 4}, "$lib": "x", "token": "t"}),
    )
    assert attributes(gateway, other={"kind": "email", "value": "set@x.org"}) == {"b": 3, "c": 4, "email": "set@x.org"}
    (event,) = gateway.profile(user_id="set-u").events
    assert {key: from_value(value) for key, value in event.properties.items()} == {"price": 2.5, "$lib": "x"}


@pytest.mark.parametrize(
    ("fields", "envelope", "hours_ago"),
    [
        ({}, {}, 0),
        ({"timestamp": 5}, {}, 5),
        ({"timestamp": 5}, {"sent_at": 3}, 2),
        ({"timestamp": 5, "properties": {"$ignore_sent_at": True}}, {"sent_at": 3}, 5),
        ({"timestamp": 5, "options": {"disable_skew_correction": True}}, {"sent_at": 3}, 5),
        ({"timestamp": 2}, {"sent_at": 3}, 2),
        ({"timestamp": -1}, {"sent_at": -3}, 2),
        ({"timestamp": 5, "properties": {"$lib": "posthog-node"}}, {"sent_at": 3}, 5),
        ({"timestamp": 5, "properties": {"$is_server": True}}, {"sent_at": 3}, 5),
        ({"timestamp": 5, "properties": {"$lib": "posthog-android"}}, {"sent_at": 3}, 2),
        ({"offset": 7_200_000}, {"sent_at": 3}, 2),
        ({"offset": -7_200_000}, {"sent_at": 3}, 0),
    ],
)
def test_times_are_corrected_by_the_clock_of_the_sender(
    gateway: GatewayCluster, fields: Any, envelope: Any, hours_ago: int, request: Any
) -> None:
    now, user = gateway.cluster.clock.now, request.node.name
    fields, envelope = (
        {
            key: to_datetime(now - value * 3_600_000).isoformat() if key in ("timestamp", "sent_at") else value
            for key, value in each.items()
        }
        for each in (fields, envelope)
    )
    send(gateway, capture("times", user, **fields), **envelope)
    assert gateway.profile(user_id=user).events[0].time.ToMilliseconds() == now - hours_ago * 3_600_000


def test_the_time_of_a_browser_and_of_a_retried_request(gateway: GatewayCluster) -> None:
    send(gateway, capture("time", "time-u", properties={"$time": 1767323045.5}))
    assert gateway.profile(user_id="time-u").events[0].time.ToMilliseconds() == 1767323045500
    headers = {"PostHog-Request-Timestamp": "2020-01-01T00:00:00Z", "PostHog-Sdk-Info": "posthog-node/5.1"}
    body = {"api_key": "ph", "batch": [capture("time", "time-v", timestamp="2019-12-31T23:00:00Z")], "created_at": "1"}
    assert gateway.post("/i/v1/analytics/events", body, headers=headers).status_code == 200
    (event,) = gateway.profile(user_id="time-v").events
    assert event.time.ToMilliseconds() == gateway.cluster.clock.now - 3_600_000
    assert from_value(event.properties["$lib"]) == "posthog-node"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (capture("", "u"), "EVENT_NAME_INVALID"),
        (capture("e", ""), "IDENTIFIER_MISSING"),
        (capture("e", None), "IDENTIFIER_MISSING"),
        (capture("e", {}), "IDENTIFIER_INVALID"),
        (capture("e", "guest"), "IDENTIFIER_BLOCKED"),
        (capture("e", "u", properties=[]), "PROPERTIES_INVALID"),
        (capture("e", "u", timestamp="?"), "TIME_INVALID"),
        (capture("$set", "u", **{"$set": 5}), "PROPERTIES_INVALID"),
        (capture("$groupidentify", "u", properties={"$group_type": "??", "$group_key": ""}), "IDENTIFIER_MISSING"),
        (None, "RECORD_MALFORMED"),
    ],
)
def test_g15_what_is_wrong_is_kept_with_the_reason(gateway: GatewayCluster, item: Any, code: str) -> None:
    before = len(gateway.letters())
    send(gateway, item, capture("good", "g15-good"))
    letters = gateway.letters()
    assert [letter.code for letter in letters[before:]] == [code]
    assert (letters[-1].dialect, letters[-1].source) == ("posthog", "ph")


def test_ids_of_groups_and_numbers(gateway: GatewayCluster) -> None:
    send(gateway, *itertools.repeat(capture("number", 12345678, uuid="n"), 2))
    assert gateway.profile(user_id="12345678").event_count == 1


def test_what_is_set_once_stays(gateway: GatewayCluster) -> None:
    first = capture(
        "seen", "once-u", uuid="once-1", **{"$set_once": {"from": "ad", "plan": "free"}, "$set": {"plan": "gold"}}
    )
    # The browser library sends null for what it does not know.
    second = capture("seen", "once-u", uuid="once-2", properties={"$set_once": {"from": "mail", "campaign": None}})
    for each in (first, second, first):
        send(gateway, each)
    assert attributes(gateway, user_id="once-u") == {"from": "ad", "plan": "gold"}
    assert gateway.profile(user_id="once-u").event_count == 2


def _form(value: bytes, before: str = "") -> bytes:
    return before.encode() + b"data=" + quote(value, safe="").encode()


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("path", ["/e/?compression=base64&beacon=1", "/i/v0/e/?ip=1&ver=1.2&beacon=1", "/batch/"])
@pytest.mark.parametrize(
    "shape", ["base64", "gzip", "json", "urlsafe", "unpadded", "other fields", "unescaped", "zipped form"]
)
def test_a_beacon_is_taken_whatever_its_form(gateway: GatewayCluster, path: str, content_type: str, shape: str) -> None:
    user = f"beacon {path} {content_type} {shape}"
    body = json.dumps({"api_key": "web", "batch": [capture("Leave", user, properties={"t": "ü?>~ÿ" * 3})]}).encode()
    encoded = base64.b64encode(body)
    sent = {
        "base64": _form(encoded),
        "gzip": _form(base64.b64encode(gzip.compress(body))),
        "json": _form(body),
        "urlsafe": _form(base64.urlsafe_b64encode(body)),
        "unpadded": _form(encoded.rstrip(b"=")),
        "other fields": _form(encoded, "ip=1&compression=base64&"),
        "unescaped": b"data=" + encoded,
        "zipped form": gzip.compress(_form(encoded)),
    }[shape]
    answer = gateway.post(path, sent, headers={"Content-Type": content_type})
    assert answer.status_code == 200, answer.text
    (event,) = gateway.profile(user_id=user).events
    assert from_value(event.properties["t"]) == "ü?>~ÿ" * 3


def test_a_capture_alone_may_be_a_beacon_and_the_query_says_when_it_was_sent(gateway: GatewayCluster) -> None:
    now = gateway.cluster.clock.now
    body = capture("Leave", "alone-beacon", timestamp=to_datetime(now - 7_200_000).isoformat(), token="web")
    query = f"compression=base64&sent_at={now - 3_600_000}"
    assert gateway.post(f"/e/?{query}", _form(base64.b64encode(json.dumps(body).encode()))).status_code == 200
    (event,) = gateway.profile(user_id="alone-beacon").events
    assert event.time.ToMilliseconds() == now - 3_600_000
    raw = base64.b64encode(json.dumps([capture("Leave", "raw-beacon", token="web")]).encode())
    assert gateway.post("/e/?compression=base64", raw).status_code == 200
    assert gateway.count('did("Leave")') and gateway.profile(user_id="raw-beacon").event_count == 1


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"data="),
        ("", b"data=%7B"),
        ("", b"data=%%%"),
        ("", b"data=AA!A"),
        ("", b"data=" + base64.b64encode(b"no json")),
        ("?compression=base64", b"!!"),
        ("?compression=base64", b""),
        ("?compression=lz64", b"data=N4Ig"),
        ("", b"x=1&" * 40 + b"data=e30="),
        ("", b"data=" + base64.b64encode(gzip.compress(b"{}", mtime=0)[:-4])),
    ],
)
def test_a_beacon_that_cannot_be_read_is_told_in_json(gateway: GatewayCluster, query: str, body: bytes) -> None:
    answer = gateway.post(f"/e/{query}", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message", "error", "detail"}


def test_a_beacon_of_too_many_values_is_refused_before_it_is_decoded(gateway: GatewayCluster) -> None:
    answer = gateway.post("/e/", _form(base64.b64encode(gzip.compress(b"[" + b"[]," * 5_000_000 + b"[]]"))))
    assert answer.status_code == 413 and "values" in answer.json()["message"]


def test_a_bomb_in_a_beacon_is_bounded(gateway: GatewayCluster) -> None:
    body = _form(base64.b64encode(gzip.compress(b" " * (BODY_BYTES_MAX + 1))))
    assert gateway.post("/e/", body).status_code == 413


PYTHON = {"$lib": "posthog-python"}


def _orders(*items: Any) -> list[tuple[Any, ...]]:
    return list(itertools.permutations(items))


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(
    "form", ["guest-{}", "cart_{}", "sess_{}", "device:{}", "visitor.{}", "GUEST-{}", "anon{}", UUID[:-7] + "{:012d}"]
)
def test_an_alias_of_an_id_that_names_a_visitor_makes_one_person(
    gateway: GatewayCluster, form: str, order: int
) -> None:
    number = 77_000 + order
    old, new, seen, bought = form.format(number), f"u-{form}-{number}", f"Seen {form}{number}", f"Buy {form}{number}"
    calls = (
        capture(seen, old, properties=PYTHON, timestamp="2026-03-01T09:00:00Z"),
        capture("$create_alias", old, properties={"alias": new, **PYTHON}),
        capture(bought, new, properties=PYTHON, timestamp="2026-03-01T10:00:00Z"),
    )
    for each in _orders(*calls)[order]:
        send(gateway, each)
    steps = gateway.cluster.query(f'funnel("{seen}" -> "{bought}", within: 7d, last: 365d)', as_of_ms=None)
    assert [step.count for step in steps.funnel] == [1, 1]
    assert gateway.profile(user_id=new).event_count == 2


@pytest.mark.parametrize("event", ["$create_alias", "$merge_dangerously"])
def test_a_link_of_two_users_is_never_refused_silently(gateway: GatewayCluster, event: str) -> None:
    old, new, before = f"alice {event}", f"bob {event}", len(gateway.letters())
    send(gateway, capture("x", old), capture("x", new))
    link = capture(event, old, properties={"alias": new, **PYTHON}, uuid=f"two {event}")
    results = send(gateway, link, path="/i/v1/analytics/events")["results"]
    assert results[f"two {event}"]["result"] == "warning" and "user id" in results[f"two {event}"]["details"]
    (letter,) = gateway.letters()[before:]
    assert letter.code == "LINK_REFUSED" and old in letter.message and "--anonymous-ids" in letter.message
    assert gateway.profile(user_id=old).event_count == gateway.profile(user_id=new).event_count == 1


@pytest.mark.parametrize(
    ("fields", "letters"),
    [
        ({"properties": {"alias": "same-u"}}, 0),  # of an id with itself
        ({"properties": {}}, 0),
        ({"properties": {"alias": "guest-1"}}, 0),
        ({"properties": {"alias": "carl"}}, 1),
        ({"properties": {"alias": "dora", "$is_identified": False}}, 0),  # said to be a visitor's
    ],
)
def test_only_a_refused_link_is_told(gateway: GatewayCluster, fields: dict[str, Any], letters: int) -> None:
    before = len(gateway.letters())
    send(gateway, capture("$create_alias", "same-u", **fields))
    assert len(gateway.letters()) - before == letters


def test_identify_of_an_unknown_form_of_id_is_told_where_the_library_marked_nothing(gateway: GatewayCluster) -> None:
    before = len(gateway.letters())
    marked = {"$anon_distinct_id": "shopper-1", "$is_identified": True}
    send(gateway, capture("Look", "shopper-1", properties={"$is_identified": False}))
    send(gateway, capture("$identify", "ident-1", properties=marked))
    assert gateway.profile(user_id="ident-1").event_count == 1 and len(gateway.letters()) == before
    send(gateway, capture("$identify", "ident-2", properties={"$anon_distinct_id": "shopper-2"}))
    assert len(gateway.letters()) == before + 1


def test_the_pattern_of_a_source_names_its_visitors_and_a_redrive_follows_it(tmp_path: Path) -> None:
    link = capture("$create_alias", "shopper-9", properties={"alias": "u-9", **PYTHON}, uuid="l9")
    with gateway_cluster(tmp_path, sources=AnySource("^shopper-")) as gateway:
        send(gateway, capture("Seen", "shopper-9"), link, capture("Buy", "u-9"))
        assert gateway.profile(user_id="u-9").event_count == 2 and not gateway.letters()
    letter = DeadLetter("ph", "posthog", 0, None, LINK_REFUSED, "", link)

    class Taking:
        def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
            return ingest_pb2.BatchResult()

    assert [each.code for each in redrive([letter], Taking(), None)] == [LINK_REFUSED]
    assert [each.code for each in redrive([letter], Taking(), None, {"web": "^shopper-"})] == [LINK_REFUSED]
    assert (
        redrive([letter], Taking(), None, {"ph": "^shopper-"}) == redrive([letter], Taking(), None, {"": "-9$"}) == []
    )


@pytest.mark.parametrize("flag", ["properties", "options"])
def test_what_a_visitor_did_before_an_identify_comes_along(gateway: GatewayCluster, flag: str) -> None:
    """A browser that makes profiles of identified people only."""
    device, user = UUID.format(4200 + len(flag)), f"late-{flag}"
    known = {"$device_id": device, "$is_identified": False}
    wanted = {"options": {"process_person_profile": False}} if flag == "options" else {}
    told = known if wanted else {**known, "$process_person_profile": False}
    before = gateway.cluster.query("everyone", exclude_anonymous=True).count
    send(gateway, capture("Seen", device, properties={**told, "$set_once": {"x": 1}}, **wanted))
    assert gateway.profile(anonymous_id=device).event_count == 1
    assert attributes(gateway, anonymous_id=device) == {}  # nothing is said of a person without a profile
    assert gateway.cluster.query("everyone", exclude_anonymous=True).count == before
    send(
        gateway,
        capture("$identify", user, properties={"$anon_distinct_id": device, "$is_identified": True}),
        capture("Buy", user, properties={"$device_id": device, "$is_identified": True}),
    )
    assert gateway.profile(user_id=user).event_count == 2


def test_ids_that_name_visitors_are_found_in_time_whatever_the_pattern() -> None:
    assert looks_made_up("a" * 100_000 + "!", "^(a+)+$") is False
    assert looks_made_up("x\ud800", "^x") is True
    with pytest.raises(RequestInvalid, match="regular expression"):
        checked_pattern("(")
    with pytest.raises(RequestInvalid, match="bytes"):
        checked_pattern("x" * 501)


@pytest.mark.parametrize("mode", ["gzip", "plain"])
@pytest.mark.parametrize("order", [1, -1])
def test_the_browser_library_as_it_comes_loses_nothing(tmp_path: Path, mode: str, order: int) -> None:
    """What posthog-js 1.449 sent of a visitor that was identified and left, as in `tests/clients/posthog_page.mjs`."""
    requests = json.loads((Path(__file__).parents[1] / "captured" / "posthog_js.json").read_text())[mode]
    with gateway_cluster(tmp_path) as gateway:
        for each in requests[::order]:
            headers = {"Content-Type": each["type"]}
            assert gateway.post(each["url"], base64.b64decode(each["body"]), headers=headers).status_code == 200
        profile = gateway.profile(user_id="u-1")
        assert sorted(event.name for event in profile.events) == ["Buy", "Leave", "Seen"]
        assert gateway.count("everyone") == 1 and gateway.letters() == []
        assert from_value(profile.attributes["plan"]) == "gold"
