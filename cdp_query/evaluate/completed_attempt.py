"""One completed attempt at a sequence by one user: the events that fill the steps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.tree import StepOrder

_VISITS_MAX: Final = 100_000  # events of one user that are tried


class Candidate(NamedTuple):
    """An event that takes part: the steps it fills and the gaps it ends, as bits, and a number of its own."""

    time_ms: int
    steps: int
    ends: int
    enters: bool
    event: int


def find_attempt(events: Sequence[Candidate], node: BoundAttempts) -> tuple[Candidate, ...]:
    """Different events of one user and held value, in order of time, that fill all steps; empty if none is found.

    `events` are in order of time. The search is bounded; only a user with very many events reaches the bound.
    """
    if node.order is StepOrder.ANY:
        return _in_any_order(events, node)
    search = _Search(events, [event.time_ms for event in events], node)
    for entry in events:
        if entry.enters and entry.steps & 1:
            attempt = search.continued((entry,))
            if attempt or search.visits > _VISITS_MAX:
                return attempt
    return ()


@dataclass(slots=True)
class _Search:
    events: Sequence[Candidate]
    times: Sequence[int]
    node: BoundAttempts
    visits: int = 0

    def continued(self, attempt: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if len(attempt) == len(self.node.steps):
            return attempt
        # Without other rules the earliest that may follow leaves most room: only events of its time have to be tried.
        plain = self.node.within_each_ms < 0 and not any(event.ends for event in self.events)
        earliest: int | None = None
        for event in self._following(attempt):
            if plain and earliest is not None and event.time_ms > earliest:
                return ()
            earliest = event.time_ms
            whole = self.continued((*attempt, event))
            if whole or self.visits > _VISITS_MAX:
                return whole
        return ()

    def _following(self, attempt: tuple[Candidate, ...]) -> Iterator[Candidate]:
        """Events that may fill the next step."""
        last_ms, step, ended_ms = attempt[-1].time_ms, len(attempt), None
        for place in range(bisect_left(self.times, last_ms), len(self.events)):
            event = self.events[place]
            self.visits += 1
            late = self._is_late(attempt, event.time_ms) or (ended_ms is not None and event.time_ms > ended_ms)
            if late or self.visits > _VISITS_MAX:
                return
            fits = event.time_ms > last_ms if self.node.strict_ties else event not in attempt
            if fits and event.steps >> step & 1:
                yield event
            if ended_ms is None and event.time_ms > last_ms and event.ends >> (step - 1) & 1:
                ended_ms = event.time_ms

    def _is_late(self, attempt: tuple[Candidate, ...], time_ms: int) -> bool:
        whole, each = self.node.within_ms, self.node.within_each_ms
        return 0 <= whole < time_ms - attempt[0].time_ms or 0 <= each < time_ms - attempt[-1].time_ms


def _in_any_order(events: Sequence[Candidate], node: BoundAttempts) -> tuple[Candidate, ...]:
    length, visits = len(node.steps), 0
    for entry in events:
        if not (entry.enters and entry.steps):
            continue
        inside = [
            event
            for event in events
            if event.time_ms >= entry.time_ms and not 0 <= node.within_ms < event.time_ms - entry.time_ms
        ]
        visits += len(inside)
        if visits > _VISITS_MAX:
            return ()
        filled = dict[int, Candidate]()
        if all(_fill(step, inside, filled, set()) for step in range(length)):
            return tuple(sorted(filled.values()))
    return ()


def _fill(step: int, events: Sequence[Candidate], filled: dict[int, Candidate], tried: set[int]) -> bool:
    """Assigns an event to a step, moving other steps to other events if needed (Kuhn's matching)."""
    for event in events:
        if event.steps >> step & 1 and event.event not in tried:
            tried.add(event.event)
            owner = next((other for other, own in filled.items() if own is event), None)
            if owner is None or _fill(owner, events, filled, tried):
                filled[step] = event
                return True
    return False
