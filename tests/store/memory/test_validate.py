"""The validator passes a healthy partition and names the structure of each fault put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cdp_store.columns.arena import hash_strings
from cdp_store.errors import StructureBroken
from cdp_store.events.layout import Layout
from cdp_store.ids import SequenceNumber
from cdp_store.limits import BUCKET_MS
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.validate import validate
from cdp_store.records.records import Strings
from cdp_store.values import Kind
from tests.raw_records import Change, Event, user
from tests.shards import KEY, batch_of
from tests.store.contents import seal_all

ANN, BOB = user("ann"), user("bob")


def healthy() -> PartitionMemory:
    """Two chunks of one name, a delta, a history, and attributes of several kinds."""
    memory = PartitionMemory(KEY, Layout(0, 0))
    events = [Event(who, "View", ts, {"page": "home", "n": ts}) for who in (ANN, BOB) for ts in (1, 5, 5, BUCKET_MS)]
    events.append(Event(ANN, "View", 3))
    memory.apply(batch_of([*events, Change(ANN, 2, {"plan": "gold"}), Change(BOB, 9, {"plan": 3})]), SequenceNumber(1))
    seal_all(memory)
    memory.apply(batch_of([Event(BOB, "View", 7, {"page": "cart"}), Change(BOB, 11, {"plan": 4})]), SequenceNumber(2))
    memory.events.capture().chunks(0)
    return memory


def _change_chunk(memory: PartitionMemory, change: Callable[[Any], Any]) -> None:
    first, *rest = memory.events._sealed[0]
    memory.events._sealed = {0: (change(first), *rest)}


def _change_column(memory: PartitionMemory, key: tuple[int, Kind], change: Callable[[Any], Any]) -> None:
    _change_chunk(memory, lambda chunk: replace(chunk, columns={**chunk.columns, key: change(chunk.columns[key])}))


def _reverse_times(chunk: Any) -> Any:
    return replace(chunk, times=np.ascontiguousarray(chunk.times[::-1]))


def _fill(array: Any, value: Any) -> None:
    array[...] = value


def _morsel(memory: PartitionMemory) -> Any:
    morsel: Any = memory._attributes[0]._morsels[0]
    morsel.reading = None
    return morsel


def _block(memory: PartitionMemory, kind: Kind) -> Any:
    return _morsel(memory).columns[kind]


def _insert_nobody(memory: PartitionMemory) -> None:
    table = Strings.of([b"unobody"])
    memory._identifiers.insert(np.zeros(1, np.uint32), table, hash_strings(KEY, table))


def _create_late(memory: PartitionMemory) -> None:
    memory._times._created[0].put(ROW_0, np.array([2]))
    memory._times._latest_created[0] = 2


ROW_0, ROW_1 = np.array([0], np.uint16), np.array([1], np.uint16)
PAGE, N = (0, Kind.STRING), (1, Kind.INT)
FAULTS: dict[str, tuple[Callable[[PartitionMemory], object], str]] = {
    "order": (lambda m: _change_chunk(m, _reverse_times), "not in order"),
    "offsets": (lambda m: _change_chunk(m, lambda c: replace(c, run_offsets=c.run_offsets - 1)), "offsets"),
    "runs": (lambda m: _change_chunk(m, lambda c: replace(c, run_starts=c.run_starts + 1)), "runs"),
    "zone": (lambda m: _change_chunk(m, lambda c: replace(c, last_ms=c.last_ms + 1)), "zone"),
    "bucket": (lambda m: _change_chunk(m, lambda c: replace(c, bucket=-1)), "bucket"),
    "time width": (lambda m: _change_chunk(m, lambda c: replace(c, times=c.times.astype(np.int64))), "do not suit"),
    "unknown name": (lambda m: m.events._sealed.update({9: m.events._sealed[0]}), "unknown name"),
    "column kind": (lambda m: _change_column(m, N, lambda c: replace(c, kind=Kind.TIME)), "TIME values under INT"),
    "column bounds": (lambda m: _change_column(m, N, lambda c: replace(c, high=c.high + 1)), "bounds"),
    "column length": (lambda m: _change_column(m, N, lambda c: replace(c, values=c.values[1:])), "number"),
    "presence": (lambda m: _change_column(m, N, lambda c: replace(c, present=c.present | 255)), "presence"),
    "code": (lambda m: _change_column(m, PAGE, lambda c: replace(c, base=7)), "dictionary of 2"),
    "delta length": (lambda m: m.events._delta._times.extend(np.zeros(1, np.int64)), "differ in length"),
    "delta row": (lambda m: _fill(m.events._delta._rows.filled(), 2), "does not exist"),
    "delta code": (lambda m: _fill(m.events._delta._raws.filled(), 2), "dictionary of 2"),
    "delta kind": (lambda m: _fill(m.events._delta._kinds.filled(), 0), "unknown kind"),
    "stale sorted events": (lambda m: m.events._delta.sorted_names.update({0: (1, ())}), "stale"),
    "stale tail": (lambda m: m.events._delta.sorted_tails.update({0: (0, 1, ())}), "stale"),
    "stale sealed events": (lambda m: m.events._delta.sealed_names.update({0: (1, ())}), "stale"),
    "created": (_create_late, "before its profile was created"),
    "nobody": (_insert_nobody, "later than the latest"),
    "creation": (lambda m: m._times._latest_created.__setitem__(0, 0), "later than the latest"),
    "attribute bounds": (lambda m: setattr(_block(m, Kind.INT), "_high", 3), "the bounds do not hold"),
    "attribute kind": (lambda m: _block(m, Kind.STRING).put(ROW_1, np.array([0])), "two kinds"),
    "attribute time": (lambda m: _morsel(m).changed.put(ROW_1, np.array([5])), "times of the current"),
    "attribute code": (lambda m: _block(m, Kind.STRING).put(ROW_0, np.array([9])), "dictionary of 1"),
    "names": (lambda m: m.schema.properties._ids.update(page=5), "not dense"),
}


def test_a_healthy_partition_passes() -> None:
    validate(healthy())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str) -> None:
    memory = healthy()
    damage, expected = FAULTS[fault]
    damage(memory)
    with pytest.raises(StructureBroken, match=expected):
        validate(memory)


def test_an_identifier_that_leads_elsewhere_is_found() -> None:
    memory = healthy()
    memory._identifiers._slots[:] = 0
    with pytest.raises(StructureBroken, match="lead to its row") as raised:
        validate(memory)
    assert raised.value.structure == "identifiers"
