"""The browser libraries of Segment, RudderStack and PostHog as they are, in a real browser, from another origin.

A visitor comes, buys, leaves while something waits to be sent, and comes back, while the way to the cluster fails
before and after data is written.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from cdp_router.contract.values import from_value
from cdp_router.gateway.problems import busy
from tests.router.gateway_cluster import gateway_cluster

HERE = Path(__file__).parent
BOUGHT = 12
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(
        not (HERE / "node_modules").exists(), reason="the libraries are installed by `make test-clients`"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on the PATH; on Debian: apt-get install chromium"),
]


@pytest.mark.parametrize("library", ["segment", "rudderstack", "posthog"])
def test_the_browser_library(library: str, tmp_path: Path) -> None:
    with gateway_cluster(tmp_path) as gateway:
        gateway.faults.before, gateway.faults.after = [busy("not now", 1)], [busy("the answer got lost", 1)]
        command = ["node", str(HERE / "browser.mjs"), library, gateway.url, str(CHROMIUM)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, done.stderr
        assert not gateway.faults.before and not gateway.faults.after
        assert gateway.letters() == []
        gateway.cluster.clock.now += 600_000  # it has stood still since before the visit
        assert gateway.cluster.members("everyone")[0] == [("user_id", "u-1")]
        profile = gateway.profile(user_id="u-1", events_max=1000)
        assert from_value(profile.attributes["plan"]) == "gold"
        names = Counter(event.name for event in profile.events)
        assert names == {"Visited": 1, "Bought": BOUGHT, "Left": 1, "Returned": 1}
        found = [
            {key: from_value(value) for key, value in event.properties.items() if not key.startswith("$")}
            for event in profile.events
            if event.name == "Bought"
        ]
        sent = [{"price": n + 0.25, "count": n, "name": f"Ünï ☕ {n}", "odd": n % 2 == 1} for n in range(BOUGHT)]
        assert sorted(found, key=lambda each: each["count"]) == sent
