"""Paths of other vendors' libraries that are not served: reported to the sender, the log and the metrics.

Libraries mostly drop requests answered with 404, so that somebody has to notice.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from cdp_router.gateway.notices import Notices
from cdp_router.observing.gateway_metrics import GatewayMetrics

_LOG: Final = logging.getLogger(__name__)
_PATH_CHARACTERS: Final = 80
UNKNOWN: Final = "unknown"
SERVED: Final = (
    "served are Segment and RudderStack (/v1/batch, /v1/track, ...), PostHog (/batch, /e, /i/v0/e, ...), CleverTap "
    "(/1/upload) and questions (/openapi.json lists them)"
)
# The first match counts. Paths that several vendors share are reported as those of the best known.
_VENDORS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("Mixpanel", r"/(track|engage|groups|import|record|lookup-tables)(/.*)?"),
        ("Amplitude", r"/(2/httpapi|httpapi|batch/event-upload|identify|groupidentify|attribution)"),
        ("Google Analytics", r"/((g|mp|r|j)/collect|debug/mp/collect|collect|gtag/.*)"),
        ("Snowplow", r"/(com\.snowplowanalytics\..*|i)"),
        ("Braze", r"/(users/(track|identify|alias/.*|merge)|api/v3/data)"),
        ("Customer.io", r"/(api/v1|v1|v2)/(customers/.*|entity|merge_customers)"),
        ("Klaviyo", r"/(api|client)/(events|profiles|identify|event-bulk-create-jobs).*"),
        ("Iterable", r"/api/(events|users|commerce)/.+"),
        ("Heap", r"/(api/(v1/)?(track|identify|add_user_properties|add_account_properties).*|h)"),
        ("Matomo", r".*/?(matomo|piwik)\.php"),
        ("Plausible", r"/api/event"),
        ("Sentry", r"/api/[^/]+/(envelope|store)"),
        ("Meta", r"/v[0-9]+\.[0-9]+/[^/]+/events"),
        ("AppsFlyer", r"/inappevent/.*"),
        ("Intercom", r"/(events|contacts)(/.*)?"),
        ("MoEngage", r"/v1/(event|customer|transition)/.*"),
        ("WebEngage", r"/v[12]/accounts/.*"),
        ("Segment", r"/(v1|v2|sdk)/.*"),
        (
            "PostHog",
            r"/(s|engage|ingest|static|array|i|surveys|api/(projects|feature_flag|surveys|web_experiments))(/.*)?",
        ),
        ("CleverTap", r"/(1|a)(/.*)?"),
    )
)


def vendor_of(path: str) -> str:
    """Vendor of a path, or `unknown`."""
    return next((name for name, pattern in _VENDORS if pattern.fullmatch(path)), UNKNOWN)


class Unserved:
    """Notes calls of paths that do not exist."""

    def __init__(self, metrics: GatewayMetrics | None = None) -> None:
        self._metrics, self._notices = metrics or GatewayMetrics(), Notices()

    def note(self, method: str, path: str) -> str:
        """Counts a call, and logs it at most once a minute per vendor; returns the message for the sender."""
        vendor = vendor_of(path)
        self._metrics.unserved(vendor)
        shown, whose = path[:_PATH_CHARACTERS], "" if vendor == UNKNOWN else f" ({vendor}?)"
        if (vendor != UNKNOWN or method == "POST") and self._notices.is_due(vendor, time.monotonic_ns() // 1_000_000):
            # No more of the path: some vendors write ids of people after it.
            start, _, rest = path.removeprefix("/")[:_PATH_CHARACTERS].partition("/")
            _LOG.warning("nothing is served at %s %r%s; %s", method, f"/{start}{'/...' if rest else ''}", whose, SERVED)
        return f"nothing is served at {shown}{whose}; {SERVED}"
