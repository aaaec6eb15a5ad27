"""Questions from Python expressions, as the messages of cdp.v1:

    (attr("plan") == "gold") & (count("Charged", prop("amount") >= 10).last("30d") >= 3)

What it builds is what the text would give; a question that has no form here can be asked as text. A comparison
yields a segment, so `==` and `!=` of these objects do not compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.expressions import SET, UNSET, Events, Filter, Report, Segment, attr, prop
from cdp_router.client.literals import span
from cdp_router.client.measures import avg_of, count, days, distinct_of, max_of, median_of, min_of, p95_of, sum_of
from cdp_router.client.windows import Windowed

__all__ = [
    "SET",
    "UNSET",
    "Events",
    "Filter",
    "Report",
    "Segment",
    "attr",
    "avg_of",
    "bucket",
    "count",
    "days",
    "did",
    "distinct_of",
    "everyone",
    "first_time",
    "funnel",
    "in_segment",
    "inactive",
    "last_time",
    "max_of",
    "median_of",
    "min_of",
    "p95_of",
    "prop",
    "sequence",
    "sum_of",
]


class did(Segment, Windowed):  # noqa: N801  # reads as a word of the language
    """Users who did it at least once in the window."""

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
    """The first such event ever lies in the window, which must be given."""
    return _Occurrence(pb.OCCURRENCE_FIRST, names, filters)


def last_time(names: str | Sequence[str], *filters: Filter) -> _Occurrence:
    """The last such event lies in the window, which must be given."""
    return _Occurrence(pb.OCCURRENCE_LAST, names, filters)


Step = str | Events


class _Steps(Windowed):
    """Options of sequences and funnels."""

    def _steps(self) -> pb.Steps:
        raise NotImplementedError

    def _window(self) -> pb.Window:
        return self._steps().window

    def within(self, length: str) -> Any:
        """At most so long from the first to the last step."""
        self._steps().within.CopyFrom(span(length))
        return self

    def strict_ties(self) -> Any:
        """Events of one timestamp do not follow each other."""
        self._steps().strict_ties = True
        return self


class sequence(Segment, _Steps):  # noqa: N801  # reads as a word of the language
    """Users who did the steps in order."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(pb.Segment(sequence=_steps(steps)))

    def _steps(self) -> pb.Steps:
        return self._message.sequence


class funnel(Report, _Steps):  # noqa: N801  # reads as a word of the language
    """How many users reached each step."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(pb.Question(funnel=_steps(steps)))

    def _steps(self) -> pb.Steps:
        return self._message.funnel


def _steps(steps: Sequence[Step]) -> pb.Steps:
    return pb.Steps(steps=[(Events(step) if isinstance(step, str) else step).message() for step in steps])


def everyone() -> Segment:
    """The whole population."""
    return Segment(pb.Segment(everyone=pb.Everyone()))


def inactive(length: str) -> Segment:
    """No event of any name for so long."""
    return Segment(pb.Segment(inactive=pb.Inactive(duration=span(length))))


def in_segment(name: str, version: int = 0) -> Segment:
    """Members of a named segment, of its newest version where none is given."""
    return Segment(pb.Segment(named=pb.SegmentReference(name=name, version=version)))


def bucket(first: int, last: int) -> Segment:
    """Profiles in buckets first to last of 0 to 999."""
    return Segment(pb.Segment(bucket=pb.BucketTest(first=first, last=last)))
