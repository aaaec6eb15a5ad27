"""A rate that may be used in bursts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Fills at `rate` a second up to `burst`, 1 or more; an overdraft is allowed and causes a wait."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = burst, clock()
        self._lock = threading.Lock()

    def wait_seconds(self) -> float:
        """Seconds until at least one is there; 0 now."""
        with self._lock:
            self._fill()
            return max(0.0, (1.0 - self._tokens) / self.rate)

    def spend(self, count: float) -> None:
        """Removes that many, even more than are there."""
        with self._lock:
            self._fill()
            self._tokens -= count

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
