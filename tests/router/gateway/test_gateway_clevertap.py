"""CleverTap's upload call: a result for each record, and nothing taken twice though records have no ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cdp_router.contract.values import from_value
from cdp_store.limits import STRING_BYTES_MAX
from cdp_store.values import to_ms
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

HEADERS = {"X-CleverTap-Account-Id": "account", "X-CleverTap-Passcode": "secret"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway; each test uses event names and ids of its own."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        found.http.auth = None
        yield found


def upload(gateway: GatewayCluster, *records: Any) -> Any:
    answer = gateway.post("/1/upload", {"d": list(records)}, headers=HEADERS)
    assert answer.status_code == 200
    return answer.json()


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "event", "evtName": name, "evtData": {"x": 1}, "ts": 1767323045, **fields}


def attributes(gateway: GatewayCluster, **name: Any) -> dict[str, Any]:
    return {key: from_value(value) for key, value in gateway.profile(**name).attributes.items()}


def test_events_and_profiles_are_taken_together(gateway: GatewayCluster) -> None:
    profile = {"type": "profile", "identity": 70, "objectId": "device-70", "ts": 1767323045}
    profile["profileData"] = {"Name": "N", "Email": "n@x.org", "Since": "$D_1767323045", "Odd": "$D_x", "Gone": None}
    records = (
        event("Charged", identity="70"),
        profile,
        event("Charged", objectId="device-70"),
        event("Charged", FBID="f"),
    )
    assert upload(gateway, *records) == {"status": "success", "processed": 4, "unprocessed": []}
    found = gateway.profile(user_id="70")
    assert (found.event_count, found.events[0].time.ToMilliseconds()) == (2, 1767323045000)
    known = attributes(gateway, other={"kind": "email", "value": "n@x.org"})
    assert to_ms(known["Since"]) == 1767323045000 and known["Odd"] == "$D_x" and "Gone" not in known
    assert gateway.profile(other={"kind": "fbid", "value": "f"}).event_count == 1


SINCE = datetime(1985, 1, 2, tzinfo=UTC)
WRITTEN = "$D_473472000"


def test_times_are_read_wherever_they_stand_in_the_data_of_a_profile(gateway: GatewayCluster) -> None:
    data: dict[str, Any] = {
        "plain": WRITTEN,
        "set": {"$set": WRITTEN},
        "added": {"$add": [WRITTEN, "x"]},
        "one": {"$add": WRITTEN},
        "list": [WRITTEN, [WRITTEN]],
        "map": {"born": WRITTEN, "deep": {"er": WRITTEN}},
        "before": "$D_-1",
        "text": "on $D_473472000",
    }
    profile = {"type": "profile", "identity": "times", "ts": 1767323045, "profileData": data}
    assert upload(gateway, profile)["status"] == "success"
    found = attributes(gateway, user_id="times")
    alone = ("plain", "set", "map.born", "map.deep.er")
    assert {name: found[name] for name in alone} == dict.fromkeys(alone, SINCE)
    assert (found["added"], found["one"], found["list"]) == ([SINCE, "x"], [SINCE], [SINCE, [SINCE]])
    assert (found["before"], found["text"]) == (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "on $D_473472000")
    removed = {"added": {"$remove": [WRITTEN]}}
    assert upload(gateway, {**profile, "ts": 1767323046, "profileData": removed})["status"] == "success"
    assert attributes(gateway, user_id="times")["added"] == ["x"]


def test_times_are_read_wherever_they_stand_in_an_event(gateway: GatewayCluster) -> None:
    data = {"at": WRITTEN, "items": [{"at": WRITTEN, "n": [WRITTEN]}], "map": {"at": WRITTEN}}
    assert upload(gateway, event("Timed", identity="timed", evtData=data))["status"] == "success"
    (found,) = gateway.profile(user_id="timed").events
    values = {key: from_value(value) for key, value in found.properties.items()}
    assert values == {"at": SINCE, "items": [{"at": SINCE, "n": [SINCE]}], "map.at": SINCE}


def test_a_deeply_nested_value_costs_its_record_alone(gateway: GatewayCluster) -> None:
    for depth in range(50, 900, 50):
        deep: Any = WRITTEN
        for _ in range(depth):
            deep = [deep]
        name = f"Deep {depth}"
        body = {"d": [event(name, identity="deep", evtData={"at": deep}), event(name, identity="deep")]}
        answer = gateway.post("/1/upload", body, headers=HEADERS)
        assert answer.status_code in (200, 400), depth
        assert answer.status_code == 400 or gateway.count(f'did("{name}")') == 1


def test_a_time_beyond_the_calendar_fails_with_its_code(gateway: GatewayCluster) -> None:
    answer = upload(gateway, event("Far", identity="far", evtData={"at": ["$D_999999999999"]}))
    assert answer["unprocessed"][0]["code"] == 525


@pytest.mark.parametrize(
    "query", ["dryRun=1", "dryRun=true", "dryrun=True", "dry_run=YES", "DRYRUN", "dry-run=on", "dryRun=2"]
)
def test_a_dry_run_stores_nothing_and_answers_what_would_be(gateway: GatewayCluster, query: str) -> None:
    name, letters = f"Dry {query}", gateway.letters()
    bad = event(name, identity="dry", evtData={"x": "y" * (STRING_BYTES_MAX + 1)})
    body = {"d": [event(name, identity="dry"), event(name), bad]}
    answer = gateway.post(f"/1/upload?{query}", body, headers=HEADERS)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["processed"]) == ("partial", 1)
    assert [each["code"] for each in found["unprocessed"]] == [523, 555]
    assert gateway.count(f'did("{name}")') == 0 and gateway.letters() == letters


@pytest.mark.parametrize("query", ["dryRun=0", "dryRun=false", "run=1", "dryRun=No"])
def test_what_is_no_dry_run_is_stored(gateway: GatewayCluster, query: str) -> None:
    name = f"Wet {query}"
    assert gateway.post(f"/1/upload?{query}", {"d": [event(name, identity="wet")]}, headers=HEADERS).ok
    assert gateway.count(f'did("{name}")') == 1


def test_g15_a_record_that_fails_comes_back_with_its_code_and_is_kept(gateway: GatewayCluster) -> None:
    bad = {
        523: event("wrong"),
        509: event("", identity="u"),
        512: event("wrong", identity="u", evtData=5),
        524: {"type": "other", "identity": "u"},
        525: event("wrong", identity="u", ts="later"),
        522: event("wrong", identity="u", evtData={f"p{n}": n for n in range(300)}),
        555: event("wrong", identity="u", evtData={"x": "y" * (STRING_BYTES_MAX + 1)}),
    }
    result = upload(gateway, *bad.values(), event("right", identity="u"))
    assert (result["status"], result["processed"]) == ("partial", 1)
    assert [(each["code"], each["record"], each["status"]) for each in result["unprocessed"]] == [
        (code, record, "fail") for code, record in bad.items()
    ]
    assert len([letter for letter in gateway.letters() if letter.dialect == "clevertap"]) >= len(bad)
    assert gateway.letters()[0].source == "account"
    assert upload(gateway, 7)["status"] == "fail"


def test_g17_a_call_sent_again_is_known_and_equal_records_of_one_call_are_two(gateway: GatewayCluster) -> None:
    same = event("twice", identity="g17")
    for _ in range(3):
        upload(gateway, same, same, event("twice", identity="g17", ts=1767323046))
    assert gateway.profile(user_id="g17").event_count == 3


def test_g12_an_answer_is_json_whatever_is_wrong(gateway: GatewayCluster) -> None:
    for body, headers in ((b"{", HEADERS), (b'{"d":5}', HEADERS), (b'{"d":[]}', {})):
        answer = gateway.post("/1/upload", body, headers=headers)
        assert answer.status_code in (400, 401) and answer.json()["code"]


def test_records_without_time_happen_now(gateway: GatewayCluster) -> None:
    for _ in range(2):
        upload(gateway, {"type": "event", "evtName": "now", "identity": "now-u"})
    assert [each.time.ToMilliseconds() for each in gateway.profile(user_id="now-u").events] == [
        gateway.cluster.clock.now
    ] * 2


def test_values_of_a_profile_are_counted_and_listed_once(gateway: GatewayCluster) -> None:
    def change(ts: int, **data: Any) -> dict[str, Any]:
        return {"type": "profile", "identity": "ops-u", "ts": ts, "profileData": data}

    first = change(1767323045, score={"$incr": 5}, tags={"$add": ["a", "b"]}, name={"$set": "N"}, old=1)
    second = change(1767323046, score={"$decr": 2}, tags={"$add": ["b", "c"]}, old={"$delete": 1})
    third = change(1767323047, tags={"$remove": ["a"]}, plain={"nested": 1})
    for record in (first, second, third, first, second):
        assert upload(gateway, record)["status"] == "success"
    assert attributes(gateway, user_id="ops-u") == {"score": 3, "tags": ["b", "c"], "name": "N", "plain.nested": 1}
    wrong = upload(gateway, change(1767323048, score={"$incr": "x"}), change(1767323049, score={"$twice": 1}))
    assert [each["code"] for each in wrong["unprocessed"]] == [555, 555]
