"""Whether engines that were asked the same question gave the same answer, and where they did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from benchmarks.answers import Answer

SHOWN_MAX: Final = 5


class AnswersDiffer(Exception):
    """Engines disagree on at least one query, so none of the times mean anything."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The verdict on one query."""

    query: str
    equal: bool
    answer: Answer
    """The answer of the first engine."""
    differences: tuple[str, ...]
    """A few differing values in words, empty where equal."""


def agree(query: str, answers: Mapping[str, Answer]) -> Agreement:
    """Compare canonical answers by engine name; every engine is held against the first."""
    (reference, expected), *others = answers.items()
    differences = tuple(
        f"{query}: {difference}"
        for name, answer in others
        if answer != expected
        for difference in _differences(reference, expected, name, answer)
    )
    return Agreement(query, all(answer == expected for _, answer in others), expected, differences)


def demand(agreements: Mapping[str, Agreement]) -> None:
    """Raise AnswersDiffer, naming the differing values, unless all queries are equal."""
    if not all(agreement.equal for agreement in agreements.values()):
        raise AnswersDiffer("\n".join(line for agreement in agreements.values() for line in agreement.differences))


def _differences(name_a: str, a: Answer, name_b: str, b: Answer) -> list[str]:
    if not (isinstance(a, list) and isinstance(b, list)):
        return [f"{name_a} {a!r}, {name_b} {b!r}"]
    keyed_a, keyed_b = _keyed(a), _keyed(b)
    keys = sorted((keyed_a.keys() | keyed_b.keys()), key=str)
    wrong = [key for key in keys if keyed_a.get(key) != keyed_b.get(key)]
    lines = [f"at {key!r}: {name_a} {keyed_a.get(key)!r}, {name_b} {keyed_b.get(key)!r}" for key in wrong[:SHOWN_MAX]]
    return [*lines, f"{len(wrong) - SHOWN_MAX} more"] if len(wrong) > SHOWN_MAX else lines


def _keyed(answer: list[Any]) -> dict[Any, Any]:
    """Rows by their key, ids by themselves, funnel steps by their number."""
    if all(isinstance(item, str) for item in islice(answer, 1)):
        return dict(Counter(answer))
    if isinstance(answer[0], list):
        return {row[0]: row[1:] for row in answer}
    return dict(enumerate(answer, 1))
