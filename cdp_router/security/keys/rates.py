"""Rates of a key: calls and records a second, in each process that checks keys."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cdp_router.errors import RateLimited
from cdp_router.rpc.principal import Principal
from cdp_router.security.keys.token_bucket import TokenBucket


class Rates:
    """The buckets of all keys. A second's worth may be used at once.

    A batch is accepted whole once one record would be: the excess over the rate delays the next batch.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls, self._events = dict[str, TokenBucket](), dict[str, TokenBucket]()

    def admit_call(self, principal: Principal) -> None:
        """Counts a call; RateLimited if it comes too soon."""
        bucket = self._bucket(self._calls, principal.key, principal.calls_per_second)
        if bucket is not None:
            _check(bucket, principal, "calls")
            bucket.spend(1)

    def admit_events(self, principal: Principal) -> None:
        """Raises RateLimited if records come too soon after those before."""
        bucket = self._bucket(self._events, principal.key, principal.events_per_second)
        if bucket is not None:
            _check(bucket, principal, "records")

    def admit_batch(self, principal: Principal, count: int) -> None:
        """Counts the records of a batch; RateLimited if they come too soon."""
        self.admit_events(principal)
        self.spend_events(principal, count)

    def spend_events(self, principal: Principal, count: int) -> None:
        """Counts records that were accepted."""
        bucket = self._bucket(self._events, principal.key, principal.events_per_second)
        if bucket is not None:
            bucket.spend(count)

    def _bucket(self, buckets: dict[str, TokenBucket], key: str, rate: float | None) -> TokenBucket | None:
        if rate is None:
            return None
        found = buckets.get(key)
        if found is None or found.rate != rate:
            found = buckets[key] = TokenBucket(rate, max(1.0, rate), self._clock)
        return found


def _check(bucket: TokenBucket, principal: Principal, what: str) -> None:
    wait = bucket.wait_seconds()
    if wait:
        raise RateLimited(principal.key, f"{bucket.rate:g} {what} a second", math.ceil(wait * 1000))
