"""Questions sort what arrived lately, while records are applied and maintenance seals: at every point of each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

import cdp_store.events.delta as delta_module
import cdp_store.events.maintaining as maintaining
from cdp_store.events.chunk import EventChunk
from cdp_store.events.delta import DeltaReading
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.values import Kind
from tests.raw_records import Event, user
from tests.shards import KEY, SMALL_LAYOUT, batch_of
from tests.stepping import Choose, Interleaving, SteppedPartition, every_change_over, step

BATCHES = 4


@pytest.fixture(autouse=True)
def points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting for a question begins and ends with a point where threads change over; tails are long at once."""
    plain = delta_module.chunks_of_name

    def stepped(reading: DeltaReading, name: int, first: int) -> tuple[EventChunk, ...]:
        step()
        chunks = plain(reading, name, first)
        step()
        return chunks

    monkeypatch.setattr(delta_module, "chunks_of_name", stepped)
    monkeypatch.setattr(delta_module, "_TAIL_EVENTS", 2)
    monkeypatch.setattr(maintaining, "READ_DELTA_EVENTS_MAX", 2)


def apply(partition: Partition, number: int) -> None:
    """The numbers 3n, 3n + 1 and 3n + 2, two under one name."""
    numbers = range(3 * number, 3 * number + 3)
    events = [Event(user(f"u{each % 2}"), "View" if each % 3 else "Buy", 9 - each % 4, {"n": each}) for each in numbers]
    partition.apply(batch_of(events), SequenceNumber(number + 1))


def seen(view: PartitionView) -> list[int]:
    """Numbers of all events, in the order of (row, time, arrival) of each name."""
    found = list[int]()
    for name in view.schema.events.values():
        chunks = view.event_chunks(name)
        numbers = [chunk.columns[view.schema.properties["n"], Kind.INT].integers() for chunk in chunks]
        rows, times = _joined(chunk.full_rows() for chunk in chunks), _joined(chunk.full_times() for chunk in chunks)
        found += _joined(numbers)[np.lexsort((times, rows))].tolist()
    return found


def _joined(parts: Iterable[Any]) -> Any:
    return np.concatenate(list(parts))


def started() -> Partition:
    partition = SteppedPartition(PartitionId(0), KEY, SMALL_LAYOUT)
    apply(partition, 0)
    return partition


def expected(batches: int) -> list[int]:
    partition = Partition(PartitionId(0), KEY, SMALL_LAYOUT)
    for number in range(batches):
        apply(partition, number)
    partition.maintain(0, 2)
    return seen(partition.capture())


EXPECTED = [expected(batches) for batches in range(1, BATCHES + 1)]


def question(partition: Partition) -> list[tuple[int, list[int]]]:
    """(sequence, events) of a view, of a later one, and of the first one again."""
    first = partition.capture()
    found = [(first.sequence, seen(first))]
    later = partition.capture()
    return [*found, (later.sequence, seen(later)), (first.sequence, seen(first))]


def writes(partition: Partition) -> None:
    for number in range(1, BATCHES):
        apply(partition, number)


def upkeep(partition: Partition) -> None:
    for _ in range(2):
        partition.maintain(9, 4)


@pytest.mark.parametrize("other", [writes, upkeep, question], ids=lambda work: work.__name__)
def test_a_question_shows_its_view_at_any_point_of_the_others(other: Any) -> None:
    def run(choose: Choose) -> None:
        partition = started()
        if other is not writes:
            apply(partition, 1)
            seen(partition.capture())
            apply(partition, 2)
        results = Interleaving(choose).run(lambda: question(partition), lambda: other(partition))
        for sequence, events in (each for result in results if result for each in result):
            assert events == EXPECTED[sequence - 1]
        final = partition.capture()
        assert seen(final) == EXPECTED[final.sequence - 1]
        partition.validate()

    assert sum(1 for _ in every_change_over(run)) > 20


def test_small_deltas_are_sealed_only_while_questions_read_them() -> None:
    partition = started()
    assert not partition.maintain(9, 4) and partition.status().unsealed == 3, "nobody asks"
    assert seen(partition.capture()) == EXPECTED[0]
    assert partition.maintain(9, 4) and partition.status().unsealed == 0
    apply(partition, 1)
    assert partition.maintain(9, 4) and partition.status().unsealed == 0, "asked a moment ago"
    apply(partition, 2)
    assert not partition.maintain(9, 4) and partition.status().unsealed == 3, "and no more since"
    assert seen(partition.capture()) == EXPECTED[2]
