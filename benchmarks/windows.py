"""The instants that the suite's rolling windows begin at, in ms: left open, right closed at the instant asked about."""

from __future__ import annotations

from typing import Final

from benchmarks.queries import SIXTY_DAYS_AGO_MS
from benchmarks.scales import AS_OF_MS, DAY_MS

T: Final = AS_OF_MS
LAST_7D: Final = T - 7 * DAY_MS
LAST_30D: Final = T - 30 * DAY_MS
LAST_90D: Final = T - 90 * DAY_MS
THEN: Final = SIXTY_DAYS_AGO_MS
THEN_LAST_30D: Final = THEN - 30 * DAY_MS

EPOCH_TO_MONDAY_MS: Final = 3 * DAY_MS
"""The epoch is a Thursday: (t + this) % week is the time since Monday's midnight."""
RETENTION_WEEKS: Final = 8

FUNNEL_WITHIN: Final = 7 * DAY_MS
USER_SPAN_MS: Final = 1 << 34
"""Width of a user's own stretch when user and time are joined into one ordered number.

With the window's stretch and the longest attempt shorter than this together, an attempt can never reach from one user's
stretch into the next one's, so that comparing the numbers compares user and time at once.
"""
if T - LAST_90D + FUNNEL_WITHIN >= USER_SPAN_MS:
    raise ValueError("a funnel attempt could span two users")
