"""Dear work done often enough, but never for more than a share of the time."""

from __future__ import annotations

from collections.abc import Callable


class Paced:
    """Work that may run again once `share` of the time since its last start would cover what that took.

    `work` tells whether there was anything to do; a run without costs nothing. `clock` gives seconds. One caller at a
    time.
    """

    def __init__(self, work: Callable[[], bool], share: float, clock: Callable[[], float]) -> None:
        assert 0 < share <= 1
        self._work, self._share, self._clock = work, share, clock
        self._due = clock()

    @property
    def seconds_left(self) -> float:
        """Until it may run again."""
        return max(0.0, self._due - self._clock())

    def run(self) -> bool:
        """Do the work if it may run; True if anything was done."""
        started = self._clock()
        if started < self._due or not self._work():
            return False
        self._due = started + (self._clock() - started) / self._share
        return True
