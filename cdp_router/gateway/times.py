"""When something happened: instants as clients write them, corrected where the client's clock is wrong."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cdp_router.validation import RecordInvalid
from cdp_store.values import to_ms

# Below, a difference is the way of the request or a retry of the same bytes, and no wrong clock.
SKEW_MS_MIN: Final = 60_000
_SECONDS_BELOW: Final = 100_000_000_000  # as seconds the year 5138, as milliseconds 1973
_TEXT_MAX: Final = 40
_REMEMBERED: Final = 4096


def instant_ms(value: Any) -> int | None:
    """Epoch milliseconds of an ISO time or a count of seconds or milliseconds; None where nothing is given."""
    if value is None or value == "":
        return None
    match value:
        case str() if len(value) <= _TEXT_MAX:
            return _parsed(value)
        case int() | float() if not isinstance(value, bool) and math.isfinite(value):
            return math.floor(value * 1000 if abs(value) < _SECONDS_BELOW else value)
    raise _invalid(value)


@lru_cache(_REMEMBERED)  # the events of a request share some of their times
def _parsed(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    try:
        seconds = float(text)
    except ValueError:
        raise _invalid(text) from None
    if not math.isfinite(seconds):
        raise _invalid(text)
    return math.floor(seconds * 1000 if abs(seconds) < _SECONDS_BELOW else seconds)


def _invalid(value: Any) -> RecordInvalid:
    return RecordInvalid("TIME_INVALID", f"{str(value)[:_TEXT_MAX]!r} is no time: write 2026-01-31T10:00:00Z")


def lenient_ms(value: Any) -> int | None:
    """The same for what only helps to correct clocks: None where it is no time."""
    try:
        return instant_ms(value)
    except RecordInvalid:
        return None


def corrected_ms(original_ms: int, sent_ms: int | None, received_ms: int) -> int:
    """When something happened by our clock: the client's clock is wrong by as much as its time of sending."""
    if sent_ms is None or abs(received_ms - sent_ms) <= SKEW_MS_MIN:
        return original_ms
    return received_ms - (sent_ms - original_ms)
