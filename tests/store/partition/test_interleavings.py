"""Whatever a partition does, a purge may come in between at every point where its lock is taken or given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

import cdp_store.memory.memory
from cdp_store.identity.identity_changes import Arrival, Farewell, IdentityChange
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from tests.identity_cluster import Partitions
from tests.raw_records import Event
from tests.shards import KEY, SMALL_LAYOUT, batch_of
from tests.stepping import Choose, Interleaving, SteppedPartition, every_change_over, whole_in_between
from tests.store.contents import read_contents
from tests.store.linked_pair import (
    DAY,
    DEPARTURE,
    DEVICE,
    GIVER,
    GONE,
    LINK,
    LINKS,
    OWNER,
    QUARANTINED,
    RECALL,
    RECORDS,
    RETENTION,
    SEATING,
    STAYING,
    SUPPRESSION,
    TAKEN,
    TAKER,
    first_records,
)
from tests.store.partition_state import plain, state_of

Work = Callable[[Partition], Any]
Schedules = Callable[[Callable[[Choose], None]], Iterator[None]]


class Cluster(Partitions):
    """Partitions of whom each can be stepped through."""

    def _empty(self, number: int) -> Partition:
        return SteppedPartition(PartitionId(number), KEY, SMALL_LAYOUT)


def cluster(*, moved: bool = False, steps: int = 0) -> Cluster:
    """Two partitions, each with a profile to purge in the first row and one that stays; a device of one belongs to a
    user of the other, and has `moved` or gone so many steps of the way."""
    made = Cluster(2)
    for home in (0, 1):
        made.partitions[home].apply(batch_of(first_records(home)), SequenceNumber(1))
    made.change(GIVER, LINK)
    for _ in range(4 if moved else steps):
        next(made.steps(), None)
    for home in (0, 1):
        made.partitions[home].erase([encode_identifier(*GONE[home])], _next(made.partitions[home]))
    return made


@dataclass(frozen=True)
class Step:
    """Something a partition does, and how far its cluster is by then."""

    name: str
    number: int
    work: Work
    moved: bool = False
    steps: int = 0


def _next(partition: Partition) -> SequenceNumber:
    return SequenceNumber(partition.sequence + 1)


def _change(change: IdentityChange | Callable[[Partition], IdentityChange]) -> Work:
    def work(partition: Partition) -> None:
        made = change(partition) if callable(change) else change
        assert partition.identity.means_something(made)
        partition.change_identity(made, _next(partition))

    return work


@cache
def _arrival() -> Arrival:
    [(to, opened)] = cluster(steps=1).partitions[GIVER].identity.transfers.open.items()
    assert to == TAKER
    return Arrival(PartitionId(GIVER), opened.number, opened.parcel)


def _farewell(partition: Partition) -> Farewell:
    return Farewell(PartitionId(TAKER), partition.identity.transfers.open[PartitionId(TAKER)].number)


def _named(view: PartitionView, row: int | None) -> bytes | None:
    if row is None:
        return None
    offsets, data = view.gather_identifiers(np.array([row]))
    return data[offsets[0] : offsets[1]].tobytes()


def _located(partition: Partition) -> object:
    wanted = [encode_identifier(*each) for each in (STAYING[partition.partition], OWNER, DEVICE)]
    view, rows = partition.locate(wanted)
    return [_named(view, row) for row in rows]


def _located_person(partition: Partition) -> object:
    view, row, origins = partition.locate_person(encode_identifier(*OWNER))
    assert origins is not None
    return _named(view, row), [origins.identifiers[n] for n in range(len(origins.identifiers))]


def _moving(partition: Partition) -> object:
    view, reading = partition.capture_moving()
    rows = reading.sent[PartitionId(TAKER)].rows
    # Those on their way are found no more; what they did tells who they are.
    chunks = view.event_chunks(view.schema.events["View"])
    found = [chunk.full_times()[np.isin(chunk.full_rows(), rows)].tolist() for chunk in chunks]
    return [times for times in found if times]


def _exported(partition: Partition) -> object:
    exported = partition.export()
    return plain(read_contents(exported.view)), exported.view.sequence


STEPS = [
    Step("a batch", GIVER, lambda p: p.apply(RECORDS, _next(p))),
    Step("a link", GIVER, _change(LINKS)),
    Step("a departure", GIVER, _change(DEPARTURE)),
    Step("an arrival", TAKER, _change(lambda _: _arrival())),
    Step("a farewell", GIVER, _change(_farewell), steps=2),
    Step("a recall", TAKER, _change(RECALL), moved=True),
    Step("a seating", GIVER, _change(SEATING)),
    Step("messages taken elsewhere", GIVER, _change(TAKEN)),
    Step("an erasure", GIVER, lambda p: p.erase([encode_identifier(*DEVICE)], _next(p))),
    Step("a suppression", GIVER, lambda p: p.suppress(SUPPRESSION, _next(p))),
    Step("a quarantine", GIVER, lambda p: p.quarantine_records(QUARANTINED, _next(p))),
    Step("a rule of retention", GIVER, lambda p: p.retain(RETENTION, _next(p))),
    Step("a loss", GIVER, lambda p: p.pass_over(_next(p))),
    # What is read:
    Step("rows of identifiers", GIVER, _located),
    Step("a person", TAKER, _located_person, moved=True),
    Step("profiles on their way", GIVER, _moving, steps=1),
    Step("an export", GIVER, _exported),
    Step("overdue events", GIVER, lambda p: p.overdue(100 * DAY)),
    Step("texts", GIVER, lambda p: sorted(p.texts().identifiers)),
]


def _copied(partition: Partition) -> Partition:
    shared = partition._memory._dictionary._lock  # of what questions find out
    return deepcopy(partition, {id(shared): shared})


def _check(step: Step, schedules: Schedules) -> None:
    """A step beside a purge gives and leaves behind what it does alone."""
    start = cluster(moved=step.moved, steps=step.steps).partitions[step.number]

    def run(choose: Choose) -> None:
        partition = _copied(start)
        result, worked = Interleaving(choose).run(lambda: step.work(partition), partition.purge)
        assert worked, "there was something to purge"
        assert (result, state_of(partition)) == expected

    alone = _copied(start)
    expected = (step.work(alone), state_of(alone))
    assert sum(1 for _ in schedules(run)) > 5


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_purge_between_any_two_points_of_a_step_changes_nothing_of_it(step: Step) -> None:
    _check(step, whole_in_between)


def test_a_step_of_a_writer_may_fall_between_any_two_of_a_purge() -> None:
    _check(next(step for step in STEPS if step.name == "a suppression"), every_change_over)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_any_part_of_a_purge_between_any_two_points_of_a_step_changes_nothing_of_it(step: Step) -> None:
    _check(step, every_change_over)


def test_names_that_were_admitted_before_a_purge_stay_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp_store.memory.memory, "EVENT_NAMES_MAX", 2)  # View and one more

    start = cluster().partitions[GIVER]

    def run(choose: Choose) -> Partition:
        partition = _copied(start)

        def admit_and_apply() -> None:
            one, other = (batch_of([Event(STAYING[0], name, 9)]) for name in ("Buy", "Pay"))
            pending = partition.pending_ids()
            assert not partition.admit(one, pending).rejections
            assert partition.admit(other, pending).rejections, "there is room for one name only"
            partition.apply(one, _next(partition))

        Interleaving(choose).run(admit_and_apply, partition.purge)
        return partition

    for partition in every_change_over(run):
        assert set(partition.capture().schema.events) == {"View", "Buy"}
