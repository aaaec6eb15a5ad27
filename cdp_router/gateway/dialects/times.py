"""Times of events: instants as clients write them, corrected if the client's clock is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.records.instants import NoInstant, instant_of

# Below, a difference is the transit of the request or a retry of the same bytes, and no wrong clock.
SKEW_MS_MIN: Final = 60_000
# A request with an older time of sending was stored and is played back; no clock is so slow.
STORED_MS_MIN: Final = 31 * 86_400_000
_FIRST_SENT_MS: Final = 1_388_534_400_000  # 2014: no library wrote times of sending before; the clock was reset
_PRECISION_MS: Final = 1000  # of times of sending: some are written in whole seconds


@dataclass(frozen=True, slots=True)
class Said:
    """Times of a record in epoch milliseconds: when it happened, and when it was sent."""

    original_ms: int
    sent_ms: int | None


def instant_ms(value: Any, unit: str | None = None) -> int | None:
    """Epoch milliseconds of an ISO time or a count; None if nothing is given."""
    if value is None or value == "":
        return None
    try:
        return instant_of(value, unit)
    except NoInstant as error:
        raise RecordInvalid("TIME_INVALID", str(error)) from error


def lenient_ms(value: Any) -> int | None:
    """The same for times that only help to correct clocks: None if it is no time."""
    try:
        return instant_ms(value)
    except RecordInvalid:
        return None


def is_contradicted(records: Iterable[Said], received_ms: int) -> bool:
    """True if a record is younger than its sending, so that the stated time of sending must be wrong."""
    return any(
        is_skewed(each.sent_ms, received_ms) and each.original_ms > each.sent_ms + _PRECISION_MS
        for each in records
        if each.sent_ms is not None
    )


def is_skewed(sent_ms: int | None, received_ms: int) -> bool:
    """True if the time of sending is so far from that of the receipt that one of the two is wrong."""
    return sent_ms is not None and abs(received_ms - sent_ms) > SKEW_MS_MIN


def corrected_ms(said: Said, received_ms: int, *, is_server: bool, is_attempt: bool) -> int:
    """Time of an event by our clock: the client's clock is wrong by as much as its time of sending.

    A time of sending in the past may also be that of an earlier attempt, unless it is known to be of this one
    (`is_attempt`). It does not measure the clock of a server, nor any if it is so old that the request was stored.
    """
    original, sent = said.original_ms, said.sent_ms
    if sent is None or not is_skewed(sent, received_ms) or original > sent + _PRECISION_MS:
        return original
    late_ms = received_ms - sent
    is_stored = late_ms > STORED_MS_MIN and sent > _FIRST_SENT_MS
    is_stale = late_ms > 0 and not is_attempt and (is_server or is_stored)
    return original if is_stale else original + late_ms
