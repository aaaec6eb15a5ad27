"""One time budget per request, measured by a monotonic clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cdp_query.errors import QueryCancelled
from cdp_router.limits import REQUEST_SECONDS_MAX

_MERGE_SHARE = 0.25
_MERGE_SECONDS_MAX = 0.5
_NO_DEADLINE_SECONDS = 10**8  # gRPC reports an enormous remaining time when the caller set none


def monotonic_ms() -> float:
    """The monotonic clock in milliseconds."""
    return time.monotonic_ns() / 1e6


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which a request stops being worth answering."""

    at: float

    @staticmethod
    def after(seconds: float | None, default: float) -> Deadline:
        """`seconds` from now, or `default` when the caller gave no deadline; never more than any call may take."""
        given = seconds is not None and seconds < _NO_DEADLINE_SECONDS
        wanted = seconds if given and seconds is not None else default
        return Deadline(time.monotonic() + min(wanted, max(default, REQUEST_SECONDS_MAX)))

    def remaining(self) -> float:
        """Seconds left, not below 0."""
        return max(0.0, self.at - time.monotonic())

    def for_shards(self) -> Deadline:
        """A little earlier, so that what shards did or did not answer can still be told to the caller in time."""
        return Deadline(self.at - min(self.remaining() * _MERGE_SHARE, _MERGE_SECONDS_MAX))

    def check(self) -> None:
        """Raise QueryCancelled once the deadline has passed."""
        if time.monotonic() >= self.at:
            raise QueryCancelled("the deadline passed before the answer was complete; allow more time or ask for less")
