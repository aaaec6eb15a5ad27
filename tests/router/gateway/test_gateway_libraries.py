"""The Python libraries of Segment, RudderStack and PostHog as they are, with nothing changed but the host.

Each sends a known workload twice, under the same message ids, while the way to the cluster fails before and after data
is written. What the cluster holds then must be what was sent, once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import posthog
import pytest
import rudderstack.analytics.client as rudder
import segment.analytics.client as segment
from posthog.capture_mode import CaptureMode

from cdp_router.contract.values import from_value
from cdp_router.gateway.problems import busy
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

USERS, EVENTS = 7, 250
START = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
_SPACE = uuid.UUID(int=7)


def known(*parts: object) -> str:
    """An id that is the same whenever it is asked for."""
    return str(uuid.uuid5(_SPACE, repr(parts)))


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayCluster]:
    """A gateway whose clients lose no time between attempts, and which fails some of them."""
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.01)))
    with gateway_cluster(tmp_path) as found:
        found.faults.before = [busy("full", 1)]
        found.faults.after = [busy("the answer got lost", 1), busy("and once more", 1)]
        yield found
        assert not found.faults.before and not found.faults.after
        assert found.letters() == []


def properties(number: int) -> dict[str, Any]:
    return {
        "price": number + 0.25,
        "count": number,
        "big": (1 << 53) + 1,
        "name": f"Ünï ☕ {number}",
        "none": None,
        "odd": True,
    }


def stored(event: Any) -> dict[str, Any]:
    found = {key: from_value(value) for key, value in event.properties.items()}
    return {key: value for key, value in found.items() if not key.startswith("$")}


def check_events(gateway: GatewayCluster) -> None:
    """Every event is there once, with its properties, at its time."""
    for user in range(USERS):
        profile = gateway.profile(user_id=f"u-{user}", events_max=1000)
        bought = [event for event in profile.events if event.name == "Bought"]
        expected = [number for number in reversed(range(EVENTS)) if number % USERS == user]
        assert [event.time.ToDatetime(UTC) for event in bought] == [START + timedelta(minutes=n) for n in expected]
        assert [stored(event) for event in bought] == [
            {key: value for key, value in properties(number).items() if value is not None} for number in expected
        ]


def check_people(gateway: GatewayCluster) -> None:
    people = gateway.cluster.members("missing(profile_type)")[0]
    assert people == [("user_id", f"u-{user}") for user in range(USERS)]
    for user in range(USERS):
        attributes = {key: from_value(value) for key, value in gateway.profile(user_id=f"u-{user}").attributes.items()}
        assert attributes["plan"] == ["free", "gold"][user % 2] and attributes["address.city"] == "Paris"
        assert (
            gateway.profile(anonymous_id=f"anon-{user}", events_max=1000).event_count
            == gateway.profile(user_id=f"u-{user}").event_count
        )
    assert gateway.count('did("Visited")') == USERS


def speak_segment(client: Any, identify: Callable[..., Any]) -> None:
    """The workload in the calls that Segment's and RudderStack's libraries share."""
    for user in range(USERS):
        at = START - timedelta(days=1)
        client.track(None, "Visited", {}, timestamp=at, anonymous_id=f"anon-{user}", message_id=known("visit", user))
        traits = {"plan": ["free", "gold"][user % 2], "address": {"city": "Paris"}, "tags": ["a", "b"]}
        identify(f"u-{user}", traits, timestamp=at, message_id=known("identify", user))
        client.alias(f"anon-{user}", f"u-{user}", timestamp=at, message_id=known("alias", user))
    for number in range(EVENTS):
        user, at = f"u-{number % USERS}", START + timedelta(minutes=number)
        client.track(user, "Bought", properties(number), timestamp=at, message_id=known("event", number))
    client.page("u-0", "Docs", "Home", {"url": "/home"}, timestamp=START, message_id=known("page"))
    client.group("u-0", "acme", {"industry": "shoes"}, timestamp=START, message_id=known("group"))
    client.flush()
    client.join()


def check_segment(gateway: GatewayCluster) -> None:
    check_events(gateway)
    check_people(gateway)
    assert gateway.count('did("Page", name = "Home", category = "Docs", url = "/home")') == 1
    assert gateway.count('group_id = "acme"') == 1
    group = gateway.profile(other={"kind": "group_id", "value": "acme"})
    assert from_value(group.attributes["industry"]) == "shoes"


def test_the_library_of_segment(gateway: GatewayCluster) -> None:
    for _ in range(2):
        failed = list[Any]()
        client = segment.Client(
            "web", host=gateway.url, upload_interval=0.01, on_error=lambda *problem: failed.append(problem)
        )
        speak_segment(client, client.identify)
        assert failed == []
    check_segment(gateway)


def test_the_library_of_rudderstack(gateway: GatewayCluster) -> None:
    for _ in range(2):
        failed = list[Any]()
        client = rudder.Client(
            "web", host=gateway.url, upload_interval=0.01, on_error=lambda *problem: failed.append(problem)
        )
        speak_segment(client, client.identify)
        assert failed == []
    check_segment(gateway)


@pytest.mark.parametrize("mode", [CaptureMode.V0, CaptureMode.V1])
def test_the_library_of_posthog(gateway: GatewayCluster, mode: CaptureMode) -> None:
    for _ in range(2):
        failed = list[Any]()
        client = posthog.Posthog(
            "phc",
            host=gateway.url,
            flush_interval=0.01,
            capture_mode=mode,
            on_error=lambda *problem: failed.append(problem),
        )
        for user in range(USERS):
            at = START - timedelta(days=1)
            client.capture("Visited", distinct_id=f"anon-{user}", timestamp=at, uuid=known("visit", user))
            traits = {"plan": ["free", "gold"][user % 2], "address": {"city": "Paris"}}
            client.set(distinct_id=f"u-{user}", properties=traits, timestamp=at, uuid=known("set", user))
            client.alias(f"anon-{user}", f"u-{user}", timestamp=at, uuid=known("alias", user))
        for number in range(EVENTS):
            at = START + timedelta(minutes=number)
            client.capture(
                "Bought",
                distinct_id=f"u-{number % USERS}",
                properties=properties(number),
                timestamp=at,
                uuid=known("event", number),
            )
        client.capture("nobody's", uuid=known("nobody"))
        client.group_identify("company", "acme", {"industry": "shoes"}, timestamp=START, uuid=known("group"))
        client.shutdown()
        assert failed == []
    check_events(gateway)
    check_people(gateway)
    group = gateway.profile(other={"kind": "group_company", "value": "acme"})
    assert from_value(group.attributes["industry"]) == "shoes"
    assert gateway.count('did("nobody\'s")') == 0
