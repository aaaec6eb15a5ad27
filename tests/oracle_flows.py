"""Flows as plain Python over raw records, user by user; see oracle.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdp_query import tree
from tests import oracle
from tests.oracle_windows import length_ms
from tests.raw_records import Event, Record

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """Users with an anchor, anchors by the whole path they meet, and how many of them may still meet more."""

    users: int
    paths: Counter[Path]
    growing: int


def flow(report: tree.Flow, records: Sequence[Record], context: tree.Context) -> Flow:
    """What the anchors of all users meet."""
    users, growing, paths = 0, 0, Counter[Path]()
    for profile in oracle.population(records, context):
        anchors = list(_anchors(report, profile, context))
        users += bool(anchors)
        for anchor in anchors:
            path = tuple(event.name for event in _met(report, anchor, profile))[: report.depth]
            paths[path] += 1
            growing += _may_grow(report, anchor, path, context)
    return Flow(users, paths, growing)


def _anchors(report: tree.Flow, profile: oracle.Profile, context: tree.Context) -> Iterator[Event]:
    """Of several events at the deciding instant the one that the question names first."""
    done = oracle.done(report.events, report.window, profile, context)
    if report.anchor is tree.FlowAnchor.EACH or not done:
        yield from done
        return
    pick = min if report.anchor is tree.FlowAnchor.FIRST else max
    instant = pick(event.ts for event in done)
    yield min((event for event in done if event.ts == instant), key=lambda event: report.events.names.index(event.name))


def _met(report: tree.Flow, anchor: Event, profile: oracle.Profile) -> list[Event]:
    """The other events on one side of the anchor and within reach, nearest first, at one instant by name."""
    backward = report.direction is tree.FlowDirection.BEFORE
    others = [
        event for event in profile.events if event is not anchor and (not report.only or event.name in report.only)
    ]
    near = [
        (distance, event)
        for event in others
        for distance in [(anchor.ts - event.ts) if backward else (event.ts - anchor.ts)]
        if distance >= 0 and (report.within is None or distance <= length_ms(report.within))
    ]
    by_name = sorted(near, key=lambda item: item[1].name, reverse=backward)
    return [event for _, event in sorted(by_name, key=lambda item: item[0])]


def _may_grow(report: tree.Flow, anchor: Event, path: Path, context: tree.Context) -> bool:
    if report.within is None or report.direction is tree.FlowDirection.BEFORE or len(path) == report.depth:
        return False
    return anchor.ts + length_ms(report.within) > context.as_of_ms
