"""Summaries of dropped events of single profiles, moved together with the profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cdp_store.events.retained import Summary
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.view import PartitionView


@dataclass(frozen=True, slots=True)
class Dropped:
    """Events of one name that an identifier's profile had before `cutoff_ms`: their number, the first and last time."""

    identifier: bytes
    name: str
    cutoff_ms: int
    count: int
    first_ms: int
    last_ms: int


def dropped_of(view: PartitionView, row: int, identifier: bytes) -> Iterator[Dropped]:
    """Summary of a row's dropped events, under an identifier."""
    for name, number in view.schema.events.items():
        summary = view.summaries.get(number)
        at = -1 if summary is None else int(np.searchsorted(summary.rows, row))
        if summary is not None and at < summary.rows.shape[0] and summary.rows[at] == row:
            counts = int(summary.counts[at]), int(summary.first_ms[at]), int(summary.last_ms[at])
            yield Dropped(identifier, name, summary.cutoff_ms, *counts)


def take_dropped(memory: PartitionMemory, dropped: Iterable[Dropped]) -> None:
    """Adds these events to the summaries of the profiles that a memory holds."""
    for each in dropped:
        [row] = memory.find([each.identifier])
        if row is None:
            continue  # erased meanwhile
        counts, first, last = (np.array([value], np.int64) for value in (each.count, each.first_ms, each.last_ms))
        memory.add_summary(each.name, Summary(each.cutoff_ms, np.array([row], np.uint32), counts, first, last))


def encode_dropped(dropped: Iterable[Dropped]) -> list[list[Any]]:
    """A form that msgpack can encode."""
    return [[each.identifier, each.name, each.cutoff_ms, each.count, each.first_ms, each.last_ms] for each in dropped]


def decode_dropped(packed: list[list[Any]]) -> tuple[Dropped, ...]:
    """Decodes the output of `encode_dropped`; ValueError or TypeError for any other input."""
    found = tuple(Dropped(*each) for each in packed)
    for each in found:
        numbers = (each.cutoff_ms, each.count, each.first_ms, each.last_ms)
        if type(each.identifier) is not bytes or type(each.name) is not str or any(type(n) is not int for n in numbers):
            raise TypeError("the description of dropped events has another form")
    return found
