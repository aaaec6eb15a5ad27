"""Proofs that one user is in a segment or is not: the verdict of every part, and the evidence for it.

Each part is evaluated like a segment of its own. Evidence is gathered for the one row only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

import numpy as np

from cdp_query import tree
from cdp_query.bind import bound
from cdp_query.bind.bind import Binder
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_profiles import BoundChanged, BoundUnchanged, BoundValueAt, BoundWas
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.find_members import find_rows
from cdp_query.compiled.populations import population_of
from cdp_query.evaluate.completed_attempt import find_attempt
from cdp_query.evaluate.execute import Checkpoint
from cdp_query.evaluate.ruled_attempts import candidates_of, under_plain_rules
from cdp_query.scan.attribute_history import changes_of
from cdp_query.scan.scan import scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import TIME_MIN_MS
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event of the user: event `index` of a chunk of the name with this id."""

    time_ms: int
    name: int
    chunk: EventChunk
    index: int


@dataclass(frozen=True, slots=True)
class FoundValue:
    """A value the attribute with this id took at a time; kind UNSET where it was removed."""

    time_ms: int
    attribute: int
    kind: Kind
    raw: int


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict of one part of a segment.

    events: the newest of the `event_count` events that were looked at, in order of time, or the events of one
    completed sequence; values: the attribute's newest values, in order of time, the last one being in force.
    """

    node: tree.Node
    holds: bool
    parts: tuple[Proof, ...] = ()
    events: tuple[FoundEvent, ...] = ()
    event_count: int = 0
    values: tuple[FoundValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Membership of a user, with its proof; a user outside of the population is no member, whatever the proof."""

    in_population: bool
    proof: Proof

    @property
    def member(self) -> bool:
        """True if the user is in the segment."""
        return self.in_population and self.proof.holds


def prove(
    segment: tree.Node, view: PartitionView, binder: Binder, row: int, shown_max: int, checkpoint: Checkpoint
) -> Verdict:
    """The verdict on the user in a row, with at most `shown_max` events and values for each part."""
    prover, population = _Prover(view, binder, row, shown_max, checkpoint), population_of(view, binder.context)
    proof = prover.proof(segment, binder.bind(segment, view.schema))
    return Verdict(population is None or bool(population[row]), proof)


@dataclass(frozen=True, slots=True)
class _Prover:
    view: PartitionView
    binder: Binder
    row: int
    shown_max: int
    checkpoint: Checkpoint

    def proof(self, node: tree.Node, part: bound.BoundNode) -> Proof:
        match node, part:
            case (tree.All(items), bound.BoundAll(items=parts)):
                proofs = tuple(map(self.proof, items, parts))
                return Proof(node, all(item.holds for item in proofs), proofs)
            case (tree.Any(items), bound.BoundAny(items=parts)):
                proofs = tuple(map(self.proof, items, parts))
                return Proof(node, any(item.holds for item in proofs), proofs)
            case (tree.Not(item), bound.BoundNot(item=inner)):
                proof = self.proof(item, inner)
                return Proof(node, not proof.holds, (proof,))
        holds = bool(find_rows(node, self.view, self.binder, self.checkpoint)[self.row])
        events, event_count = self._events(part, holds)
        return Proof(node, holds, (), events, event_count, self._values(part))

    def _events(self, part: bound.BoundNode, holds: bool) -> tuple[tuple[FoundEvent, ...], int]:
        if isinstance(part, bound.BoundSequence | BoundAttempts) and holds:
            attempt = self._attempt(part if isinstance(part, BoundAttempts) else under_plain_rules(part))
            if attempt:
                return attempt, len(attempt)
        until_ms = self.binder.context.as_of_ms
        found = {
            (event.time_ms, event.name, id(event.chunk), event.index): event
            for events, interval in _scopes(part, Interval(TIME_MIN_MS, until_ms))
            for event in self._matching(events, interval)
        }
        ordered = sorted(found.values(), key=lambda event: event.time_ms)
        if isinstance(part, BoundOccurrence) and ordered:
            # The one occurrence that decides.
            chosen = ordered[:1] if part.occurrence is tree.Occurrence.FIRST else ordered[-1:]
            return tuple(chosen), len(ordered)
        return tuple(ordered[-self.shown_max :]), len(ordered)

    def _matching(self, events: BoundEvents, interval: Interval) -> Iterator[FoundEvent]:
        ready = anchored(events, self.view, NodeStats())
        for name in dict.fromkeys(ready.names):
            for scanned in scan(self.view, BoundEvents((name,), ready.where), interval, NodeStats()):
                own = scanned.chunk.events_of_row(self.row)
                inside = np.arange(own.start, own.stop)[scanned.mask_or_ones()[own]]
                times = scanned.chunk.full_times()[inside] if inside.size else inside
                for index, time_ms in zip(inside.tolist(), times.tolist(), strict=True):
                    yield FoundEvent(time_ms, name, scanned.chunk, index)

    def _attempt(self, part: BoundAttempts) -> tuple[FoundEvent, ...]:
        """The events of a completed attempt; empty when looking for one takes too long."""
        for found in candidates_of(self.view, part, self.row, NodeStats()):
            attempt = find_attempt([candidate for candidate, _, _ in found], part)
            if attempt:
                places = {candidate: (source.name, source.chunk, index) for candidate, source, index in found}
                return tuple(FoundEvent(event.time_ms, *places[event]) for event in attempt)
        return ()

    def _values(self, part: bound.BoundNode) -> tuple[FoundValue, ...]:
        match part:
            case bound.BoundAttribute(attribute=attribute):
                count = 1
            case (
                BoundWas(attribute=attribute)
                | BoundChanged(attribute=attribute)
                | BoundUnchanged(attribute=attribute)
                | BoundValueAt(attribute=attribute)
            ):
                count = self.shown_max
            case _:
                return ()
        if attribute is None:
            return ()
        changes = changes_of(self.view, attribute, self.binder.context.as_of_ms, NodeStats())
        own = np.flatnonzero(changes.rows == self.row)[-count:]
        return tuple(
            FoundValue(int(changes.times[i]), attribute, Kind(int(changes.kinds[i])), int(changes.raws[i])) for i in own
        )


def _scopes(part: object, interval: Interval) -> Iterator[tuple[BoundEvents, Interval]]:
    """The sets of events inside a bound node, each with the interval in which it counts."""
    if isinstance(part, BoundEvents):
        yield part, interval
    elif isinstance(part, tuple):
        for item in part:
            yield from _scopes(item, interval)
    elif is_dataclass(part) and not isinstance(part, type):
        own = getattr(part, "interval", interval)
        if isinstance(part, BoundOccurrence | bound.BoundSequence | BoundAttempts) or not isinstance(own, Interval):
            own = interval  # what decides may lie outside
        for field in fields(part):
            yield from _scopes(getattr(part, field.name), own)
