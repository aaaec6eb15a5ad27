"""The Node libraries of Segment, RudderStack, PostHog and CleverTap as they are, with nothing changed but the host.

Each sends a known workload twice while the way to the cluster fails before and after data is written.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdp_router.contract.values import from_value
from cdp_router.gateway.problems import busy
from tests.router.gateway_cluster import gateway_cluster

HERE = Path(__file__).parent
USERS, EVENTS = 5, 120
START = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)

pytestmark = pytest.mark.skipif(
    not (HERE / "node_modules").exists(), reason="the libraries are installed by `make test-clients`"
)


@pytest.mark.parametrize("library", ["segment", "rudderstack", "posthog", "clevertap"])
def test_the_node_library(library: str, tmp_path: Path) -> None:
    with gateway_cluster(tmp_path) as gateway:
        # CleverTap's library does not try again: whoever uses it does.
        faults = [] if library == "clevertap" else [busy("the answer got lost", 1)]
        for _ in range(2):
            gateway.faults.before, gateway.faults.after = list(faults), list(faults)
            command = ["node", HERE / "workload.mjs", library, gateway.url]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            assert not gateway.faults.before and not gateway.faults.after
        assert gateway.letters() == []
        assert gateway.cluster.members("everyone")[0] == [("user_id", f"u-{user}") for user in range(USERS)]
        assert gateway.count('did("Visited")') == USERS
        milliseconds = 0 if library == "clevertap" else 678
        for user in range(USERS):
            profile = gateway.profile(user_id=f"u-{user}", events_max=1000)
            assert from_value(profile.attributes["plan"]) == ["free", "gold"][user % 2]
            bought = [event for event in profile.events if event.name == "Bought"]
            expected = [number for number in reversed(range(EVENTS)) if number % USERS == user]
            at = START.replace(microsecond=milliseconds * 1000)
            assert [event.time.ToDatetime(UTC) for event in bought] == [at + timedelta(minutes=n) for n in expected]
            for event, number in zip(bought, expected, strict=True):
                found = {key: from_value(value) for key, value in event.properties.items() if not key.startswith("$")}
                assert found == {"price": number + 0.25, "count": number, "name": f"Ünï ☕ {number}", "odd": True}
            assert profile.event_count == len(expected) + 1


@pytest.mark.parametrize("mode", ["gzip", "plain"])
def test_the_browser_library_of_posthog_as_it_comes(mode: str, tmp_path: Path) -> None:
    """It makes profiles of identified people only, and sends a beacon, in base64 where it may not compress."""
    with gateway_cluster(tmp_path) as gateway:
        command = ["node", HERE / "posthog_page.mjs", gateway.url, mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert gateway.letters() == []
        gateway.cluster.clock.now += 600_000  # it has stood still since before the visit
        assert gateway.cluster.members("everyone")[0] == [("user_id", "u-1")]
        profile = gateway.profile(user_id="u-1")
        assert sorted(event.name for event in profile.events) == ["Bought", "Left", "Seen"]
        assert from_value(profile.attributes["plan"]) == "gold"
