"""Questions from Python expressions, as the messages of cdp.v1:

    (attr("plan") == "gold") & (count("Charged", prop("amount") >= 10).last("30d") >= 3)

An expression builds the same message as the text form, and every text has an expression. A comparison yields a segment,
so `==` and `!=` of these objects do not compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdp.v1 import segment_pb2 as pb

from cdp_router.client import event_tests, measures, reports, steps
from cdp_router.client.event_tests import *
from cdp_router.client.expressions import SET, UNSET, Events, Filter, Report, Segment, all_of, any_of, attr, prop
from cdp_router.client.literals import at, span
from cdp_router.client.measures import *
from cdp_router.client.reports import *
from cdp_router.client.steps import *
from cdp_router.client.windows import Windowed

__all__ = [
    "SET",
    "UNSET",
    "Events",
    "Filter",
    "Report",
    "Segment",
    "all_of",
    "any_of",
    "at",
    "attr",
    "bucket",
    "did",
    "everyone",
    "first_time",
    "in_segment",
    "inactive",
    "last_time",
    "prop",
]
__all__ += event_tests.__all__
__all__ += measures.__all__
__all__ += reports.__all__
__all__ += steps.__all__


class did(Segment, Windowed):  # noqa: N801  # reads as a word of the language
    """Users with such an event at least once in the window."""

    def __init__(self, names: str | Sequence[str], *filters: Filter) -> None:
        super().__init__(pb.Segment(did=pb.DidTest(events=Events(names, *filters).message())))

    def _window(self) -> pb.Window:
        return self._message.did.window


class _Occurrence(Segment, Windowed):
    def __init__(self, occurrence: Any, names: str | Sequence[str], filters: Sequence[Filter]) -> None:
        events = Events(names, *filters).message()
        super().__init__(pb.Segment(occurrence=pb.OccurrenceTest(occurrence=occurrence, events=events)))

    def _window(self) -> pb.Window:
        return self._message.occurrence.window


def first_time(names: str | Sequence[str], *filters: Filter) -> _Occurrence:
    """Users whose first such event ever is in the window, which must be given."""
    return _Occurrence(pb.OCCURRENCE_FIRST, names, filters)


def last_time(names: str | Sequence[str], *filters: Filter) -> _Occurrence:
    """Users whose last such event is in the window, which must be given."""
    return _Occurrence(pb.OCCURRENCE_LAST, names, filters)


def everyone() -> Segment:
    """The whole population."""
    return Segment(pb.Segment(everyone=pb.Everyone()))


def inactive(length: str) -> Segment:
    """Users without any event for this long."""
    return Segment(pb.Segment(inactive=pb.Inactive(duration=span(length))))


def in_segment(name: str, version: int = 0) -> Segment:
    """Members of a named segment, by default of its newest version."""
    return Segment(pb.Segment(named=pb.SegmentReference(name=name, version=version)))


def bucket(first: int, last: int) -> Segment:
    """Profiles in buckets first to last of 0 to 999."""
    return Segment(pb.Segment(bucket=pb.BucketTest(first=first, last=last)))
