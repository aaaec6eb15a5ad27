"""Attempts under all rules of section 4 as plain Python: every choice of events is tried. See oracle.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf
from typing import Any

from cdp_query import tree
from tests import oracle
from tests.oracle import ValueKey
from tests.oracle_windows import length_ms
from tests.raw_records import Event, Record


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that counts: `end` is None unless it converted, `open_from` the entry that decides if it is open."""

    depth: int
    entry: int
    end: int | None
    event: Event
    open_from: int


@dataclass(slots=True)
class Funnel:
    """What a funnel counts."""

    steps: tuple[int, ...]
    incomplete: int = 0
    times: list[int] = field(default_factory=list)
    groups: dict[ValueKey, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


def funnel(report: tree.Funnel, records: Sequence[Record], context: tree.Context) -> Funnel:
    """The counted attempts of all users, and by group (steps, sorted times)."""
    length, limit = len(report.steps), _longest(report)
    whole, grouped = list[Attempt](), defaultdict[ValueKey, list[Attempt]](list)
    for profile in oracle.population(records, context):
        for attempt in attempts(report, profile, context):
            whole.append(attempt)
            value = profile.attributes.get(report.by_attribute or "")
            if report.by_entry is not None:
                value = attempt.event.properties.get(report.by_entry)
            for key in oracle._value_keys(value):
                grouped[key].append(attempt)
    is_open = [a.depth < length and a.open_from + limit > context.as_of_ms for a in whole]
    found = Funnel(_steps(whole, length), sum(is_open) if limit < inf else 0, _times(whole, report))
    if report.by_attribute is not None or report.by_entry is not None:
        found.groups = {key: (_steps(own, length), tuple(_times(own, report))) for key, own in grouped.items()}
    return found


def _steps(counted: Sequence[Attempt], length: int) -> tuple[int, ...]:
    depths = Counter(attempt.depth for attempt in counted)
    return tuple(sum(depths[d] for d in range(step, length + 1)) for step in range(1, length + 1))


def _times(counted: Sequence[Attempt], report: tree.Funnel) -> list[int]:
    return sorted(a.end - a.entry for a in counted if a.end is not None) if report.times else []


def _longest(report: tree.Funnel) -> float:
    total = inf if report.within is None else length_ms(report.within)
    each = report.rules.within_each
    return total if each is None else min(total, length_ms(each) * (len(report.steps) - 1))


def attempts(report: tree.Funnel | tree.SequenceTest, profile: oracle.Profile, context: tree.Context) -> list[Attempt]:
    """The attempts of one user that count."""
    groups = [_Group(report, profile, context, value) for value in _held(report, profile)]
    mode = report.mode if isinstance(report, tree.Funnel) else tree.AttemptMode.DEEPEST
    entries = [event.ts for group in groups for event in group.entries]
    if not entries:
        return []
    if mode is tree.AttemptMode.TOTALS:
        return [attempt for group in groups for attempt in group.one_after_the_other()]
    starts = {min(entries)} if mode is tree.AttemptMode.FIRST_ENTRY else set(entries)
    found = [(group, attempt) for group in groups for s in starts if (attempt := group.best(s)) is not None]
    _, best = min(
        found, key=lambda item: (-item[1].depth, item[1].entry, item[1].end or 0, item[0].rank(item[1].event))
    )
    latest = max(entries) if mode is tree.AttemptMode.DEEPEST else best.entry
    return [Attempt(best.depth, best.entry, best.end, best.event, latest)]


def complete_attempts(
    report: tree.SequenceTest, profile: oracle.Profile, context: tree.Context
) -> set[tuple[int, ...]]:
    """The times of the events of each attempt of one user that completes all steps."""
    found = set[tuple[int, ...]]()
    for value in _held(report, profile):
        group = _Group(report, profile, context, value)
        for start in {event.ts for event in group.entries}:
            choices = group.fillings(start) if group.any_order else group._choices(start)
            found |= {tuple(sorted(e.ts for e in choice)) for choice in choices if len(choice) == group.length}
    return found


def _held(report: tree.Funnel | tree.SequenceTest, profile: oracle.Profile) -> list[Any]:
    """The values to hold, each in a form that tells true from 1; [None] where nothing is held."""
    if report.rules.hold is None:
        return [None]
    held = {repr(_value(event, report.rules.hold)): _value(event, report.rules.hold) for event in profile.events}
    return [value for value in held.values() if value is not None]


def _value(event: Event, name: str) -> Any:
    """A property as held: numbers are equal whatever their type, a bool is no number."""
    value = event.properties.get(name)
    if isinstance(value, list):
        return ("list", repr([_scalar(item) for item in value]))
    return None if value is None else _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (type(value).__name__, value)


class _Group:
    """The events of one user and one held value."""

    def __init__(
        self, report: tree.Funnel | tree.SequenceTest, profile: oracle.Profile, context: tree.Context, value: Any
    ) -> None:
        self.report, self.rules, self.length = report, report.rules, len(report.steps)
        self.within = inf if report.within is None else length_ms(report.within)
        each = report.rules.within_each
        self.gap = inf if each is None else length_ms(each)
        hold = report.rules.hold
        own = [event for event in profile.events if hold is None or _value(event, hold) == value]
        loose = [event for event in profile.events if hold is not None and _value(event, hold) is None]
        self.steps = [[e for e in own if oracle._is_one_of(e, step, context)] for step in report.steps]
        first = [event for step in self.steps for event in step] if self.any_order else self.steps[0]
        unique = {id(event): event for event in first}.values()
        self.entries = [event for event in unique if oracle.inside(report.window, event.ts, profile, context)]
        matching = [event.ts for step in self.steps for event in step]
        self.killers = [
            [
                *(
                    e.ts
                    for x in self.rules.without
                    for e in (*own, *loose)
                    if x.gap == gap and oracle._is_one_of(e, x.events, context)
                ),
                *(matching if self.rules.order is tree.StepOrder.STRICT else ()),
            ]
            for gap in range(self.length)
        ]
        self._arrival = {id(event): place for place, event in enumerate(profile.events)}
        self._names = list(dict.fromkeys(name for step in report.steps for name in step.names))

    @property
    def any_order(self) -> bool:
        return self.rules.order is tree.StepOrder.ANY

    def rank(self, event: Event) -> tuple[int, int]:
        """Among events of one time: by the order of names in the question, then of arrival."""
        return self._names.index(event.name), self._arrival[id(event)]

    def best(self, start: int) -> Attempt | None:
        """The deepest attempt that enters at an instant, and of those the one that ends first."""
        entering = [event for event in self.entries if event.ts == start]
        if not entering:
            return None
        depth, end = self._fill(start) if self.any_order else self._complete(start)
        event = min(entering, key=self.rank)
        return Attempt(depth, start, end, event, start)

    def one_after_the_other(self) -> Iterator[Attempt]:
        """Attempts that do not overlap."""
        over = lambda ts: True  # noqa: E731
        for start in sorted({event.ts for event in self.entries}):
            if not over(start):
                continue
            attempt = self.best(start)
            assert attempt is not None
            yield attempt
            if attempt.end is not None:
                over = lambda ts, end=attempt.end: ts > end  # noqa: E731
            else:
                over = lambda ts, start=start: self._is_over(start, ts)  # noqa: E731

    def _choices(self, start: int) -> Iterator[tuple[Event, ...]]:
        """Every attempt that enters at an instant, whole or not."""

        def extend(chosen: tuple[Event, ...]) -> Iterator[tuple[Event, ...]]:
            yield chosen
            if len(chosen) < self.length:
                for event in self.steps[len(chosen)]:
                    if self._may_follow(chosen, event):
                        yield from extend((*chosen, event))

        for event in self.entries:
            if event.ts == start:
                yield from extend((event,))

    def _may_follow(self, chosen: tuple[Event, ...], event: Event) -> bool:
        last, gap = chosen[-1].ts, event.ts - chosen[-1].ts
        in_order = gap > 0 if self.report.strict_ties else gap >= 0
        fits = gap <= self.gap and event.ts - chosen[0].ts <= self.within
        killed = any(last < ts < event.ts for ts in self.killers[len(chosen) - 1])
        return in_order and fits and not killed and all(event is not other for other in chosen)

    def _complete(self, start: int) -> tuple[int, int | None]:
        choices = list(self._choices(start))
        whole = [choice[-1].ts for choice in choices if len(choice) == self.length]
        return max(map(len, choices)), min(whole, default=None)

    def fillings(self, start: int) -> Iterator[tuple[Event, ...]]:
        """Every choice of different events, one a step whatever their order, that enters at an instant."""
        inside = [[e for e in step if start <= e.ts <= start + self.within] for step in self.steps]
        return (choice for choice in product(*inside) if len({id(event) for event in choice}) == self.length)

    def _is_over(self, start: int, now: int) -> bool:
        """Whether nothing that happens after `now` can carry an attempt from `start` on."""
        if now - start > self.within:
            return True
        if self.any_order:
            return False
        return not any(
            choice[-1].ts <= now
            and len(choice) < self.length
            and now - choice[-1].ts <= self.gap
            and not any(choice[-1].ts < ts <= now for ts in self.killers[len(choice) - 1])
            for choice in self._choices(start)
        )

    def _fill(self, start: int) -> tuple[int, int | None]:
        """Most steps that different events from `start` on fill, and when all are."""

        def most(step: int, used: tuple[Event, ...], until: float) -> int:
            if step == self.length:
                return 0
            tried = [most(step + 1, used, until)]
            for event in self.steps[step]:
                if start <= event.ts <= until and all(event is not other for other in used):
                    tried.append(1 + most(step + 1, (*used, event), until))
            return max(tried)

        times = sorted({e.ts for step in self.steps for e in step if start <= e.ts <= start + self.within})
        whole = (ts for ts in times if most(0, (), ts) == self.length)
        return most(0, (), start + self.within), next(whole, None)
