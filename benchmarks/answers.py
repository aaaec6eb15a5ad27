"""The forms an answer may take, and the canonical form in which answers of different engines are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

Cell: TypeAlias = int | str
Answer: TypeAlias = int | list[int] | list[list[Cell]] | list[str]


class AnswerKind(StrEnum):
    """What a query answers with."""

    COUNT = "count"
    FUNNEL = "funnel"
    TABLE = "table"
    IDS = "ids"


def canonical(kind: AnswerKind, raw: Any) -> Answer:
    """The comparable form of an engine's answer; call it outside of the measured time.

    count: int. funnel: users who reached each step. table: rows of a text key and whole numbers, sorted by key, rows
    of nothing but zeros left out (SQL does not produce empty buckets). ids: sorted user ids.
    """
    if kind is AnswerKind.COUNT:
        return int(raw)
    if kind is AnswerKind.FUNNEL:
        return [int(reached) for reached in raw]
    if kind is AnswerKind.TABLE:
        return _table(raw)
    return sorted(raw.to_pylist() if hasattr(raw, "to_pylist") else raw)


def summarise(kind: AnswerKind, answer: Answer) -> Answer | dict[str, int | str]:
    """An answer short enough for a result file: ids become their number and a digest."""
    if kind is not AnswerKind.IDS:
        return answer
    assert isinstance(answer, list)
    digest = hashlib.sha256(json.dumps(answer).encode()).hexdigest()
    return {"count": len(answer), "sha256": digest}


def _table(rows: Iterable[Sequence[Any]]) -> list[list[Cell]]:
    whole: list[list[Cell]] = [[str(row[0]), *(int(number) for number in row[1:])] for row in rows]
    return sorted((row for row in whole if any(row[1:])), key=lambda row: str(row[0]))
