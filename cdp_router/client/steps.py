"""Sequences and funnels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.expressions import Events, Report, Segment
from cdp_router.client.literals import span
from cdp_router.client.windows import Windowed

__all__ = ["funnel", "sequence", "without"]

Own = TypeVar("Own", bound="_Steps")
_ORDERS: Final[Mapping[str, pb.StepOrder.ValueType]] = {
    "ordered": pb.STEP_ORDER_ORDERED,
    "strict": pb.STEP_ORDER_STRICT,
    "any": pb.STEP_ORDER_ANY,
}
_MODES: Final[Mapping[str, pb.AttemptMode.ValueType]] = {
    "deepest": pb.ATTEMPT_MODE_DEEPEST,
    "first_entry": pb.ATTEMPT_MODE_FIRST_ENTRY,
    "totals": pb.ATTEMPT_MODE_TOTALS,
}


class without:  # noqa: N801  # reads as a word of the language
    """Events that end an attempt if they occur between two steps: sequence("A", without("X"), "B")."""

    def __init__(self, events: str | Events) -> None:
        self.events = Events(events) if isinstance(events, str) else events


Step = str | Events | without


class _Steps(Windowed):
    """Options of sequences and funnels; the window is that of the first step."""

    def _steps(self) -> pb.Steps:
        raise NotImplementedError

    def _window(self) -> pb.Window:
        return self._steps().window

    def within(self: Own, length: str) -> Own:
        """Limits the time from the first to the last step."""
        self._steps().within.CopyFrom(span(length))
        return self

    def within_each(self: Own, length: str) -> Own:
        """Limits the time from each step to the next."""
        self._steps().within_each.CopyFrom(span(length))
        return self

    def strict_ties(self: Own) -> Own:
        """Requires that events with the same timestamp do not follow each other."""
        self._steps().strict_ties = True
        return self

    def order(self: Own, order: str) -> Own:
        """Sets the order of steps: ordered (anything may lie between), strict (no other step between) or any.

        Raises ValueError for another word.
        """
        self._steps().order = _known(_ORDERS, order)
        return self

    def hold(self: Own, name: str) -> Own:
        """Requires the same value of a property at all steps."""
        self._steps().hold = name
        return self


class sequence(Segment, _Steps):  # noqa: N801  # reads as a word of the language
    """Users that did the steps in order."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(pb.Segment(sequence=_message(steps)))

    def _steps(self) -> pb.Steps:
        return self._message.sequence


class funnel(Report, _Steps):  # noqa: N801  # reads as a word of the language
    """Report of the number of users that reached each step."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(pb.Question(funnel=_message(steps)))

    def _steps(self) -> pb.Steps:
        return self._message.funnel

    def mode(self, mode: str) -> funnel:
        """Sets the attempts that count: deepest, first_entry or totals. Raises ValueError for another word."""
        self._steps().counting.mode = _known(_MODES, mode)
        return self

    def by(self, attribute: str) -> funnel:
        """Groups by the value of an attribute."""
        self._steps().counting.by_attribute = attribute
        return self

    def by_entry(self, name: str) -> funnel:
        """Groups by a property of the entry event."""
        self._steps().counting.by_entry = name
        return self

    def with_times(self) -> funnel:
        """Adds the times that converted attempts took."""
        self._steps().counting.times = True
        return self


def _message(given: Sequence[Step]) -> pb.Steps:
    steps, excluded = list[Events](), list[pb.Exclusion]()
    for step in given:
        if isinstance(step, without):
            excluded.append(pb.Exclusion(gap=len(steps) - 1, events=step.events.message()))
        else:
            steps.append(Events(step) if isinstance(step, str) else step)
    if excluded and (isinstance(given[0], without) or isinstance(given[-1], without)):
        raise TypeError("without(...) stands between two steps")
    return pb.Steps(steps=[step.message() for step in steps], without=excluded)


def _known(words: Mapping[str, Any], word: str) -> Any:
    if word not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return words[word]
