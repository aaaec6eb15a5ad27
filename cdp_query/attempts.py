"""One completed attempt at a sequence by one user: which events fill the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_VISITS_MAX: Final = 100_000  # events of one user that are tried; only ties in time make more than one pass


class Candidate(NamedTuple):
    """An event that may fill a step: its time, and a number of its own."""

    time_ms: int
    event: int


def find_attempt(steps: Sequence[Sequence[Candidate]], within_ms: int, *, strict_ties: bool) -> tuple[Candidate, ...]:
    """Different candidates, one a step, in order and within the limit (< 0: none); empty if none is found.

    Candidates of a step are sorted. Taking the earliest that may follow leaves most room for what comes behind, so
    that only candidates of that one time have to be tried.
    """
    search = _Search(steps, within_ms, strict_ties)
    for start in steps[0]:
        attempt = search.continued((start,))
        if attempt or search.visits > _VISITS_MAX:
            return attempt
    return ()


@dataclass(slots=True)
class _Search:
    steps: Sequence[Sequence[Candidate]]
    within_ms: int
    strict_ties: bool
    visits: int = 0

    def continued(self, attempt: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if len(attempt) == len(self.steps):
            return attempt
        earliest: int | None = None
        for candidate in self.steps[len(attempt)]:
            self.visits += 1
            if self.visits > _VISITS_MAX or (earliest is not None and candidate.time_ms > earliest):
                return ()
            if not self._may_follow(attempt, candidate):
                continue
            if self.within_ms >= 0 and candidate.time_ms - attempt[0].time_ms > self.within_ms:
                return ()
            earliest = candidate.time_ms
            whole = self.continued((*attempt, candidate))
            if whole:
                return whole
        return ()

    def _may_follow(self, attempt: tuple[Candidate, ...], candidate: Candidate) -> bool:
        gap = candidate.time_ms - attempt[-1].time_ms
        return (gap > 0 if self.strict_ties else gap >= 0) and candidate not in attempt
