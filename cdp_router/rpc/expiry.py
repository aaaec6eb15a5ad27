"""Many moments at which something expires, and one timer of the event loop for all of them.

Nearly all of them are forgotten in time: a timer for each would be made and cancelled for nothing.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

_TIMER_SECONDS: Final = 0.001  # the loop counts whole milliseconds: what is due within the same one is due now


class Expiring(Protocol):
    """Something that expires unless it is forgotten before."""

    def expire(self) -> None:
        """Learns that its moment has come."""


class Expiry:
    """Moments by what expires then; only for the event loop it is made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = dict[Expiring, float]()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def add(self, what: Expiring, seconds: float) -> None:
        """Lets something expire in so many seconds."""
        at = self._due[what] = self._loop.time() + seconds
        if at < self._timer_at:
            self._set_timer(at)

    def forget(self, what: Expiring) -> None:
        """Lets something never expire. The timer stays: it looks what is due then."""
        self._due.pop(what, None)

    def close(self) -> None:
        """Lets nothing expire."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time() + _TIMER_SECONDS
        for what in [what for what, at in self._due.items() if at <= now]:
            del self._due[what]
            what.expire()
        if self._due:
            self._set_timer(min(self._timer_at, *self._due.values()))
