"""Blocks of values against a dictionary, with readings taken along the way; times that differ from the usual one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.columns.column import EventColumn
from cdp_store.columns.value_block import ValueBlock
from cdp_store.limits import BLOCK_ROWS_MIN, MORSEL_ROWS
from cdp_store.profiles import change_times
from cdp_store.profiles.change_times import ChangeTimes
from cdp_store.profiles.profile_times import NOT_CREATED, ProfileTimes
from cdp_store.values import Kind
from tests.store.contents import raws_of

ROWS = st.one_of(st.integers(0, 20), st.sampled_from([BLOCK_ROWS_MIN - 1, BLOCK_ROWS_MIN, MORSEL_ROWS - 1]))
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INT: st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**32, -(2**63)])),
    Kind.FLOAT: st.one_of(
        st.integers(-10_000, 10**8).map(lambda cents: cents / 100),
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.just(-0.0),
    ),
    Kind.TIME: st.one_of(st.integers(0, 10**6), st.integers(-62_135_596_800_000, 253_402_300_799_999)),
    Kind.STRING: st.integers(0, 2**32 - 2),
}


@st.composite
def writes(draw: st.DrawFn) -> tuple[Kind, list[dict[int, Any]]]:
    """A kind and steps that set rows to values, or (None) clear them."""
    kind = draw(st.sampled_from(list(VALUES)))
    values = st.one_of(VALUES[kind], VALUES[kind], st.none())
    return kind, draw(st.lists(st.dictionaries(ROWS, values, min_size=1, max_size=12), max_size=8))


def local(rows: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return np.array(rows, np.uint16)


def contents(column: EventColumn | None) -> dict[int, int]:
    if column is None:
        return {}
    presence = column.presence()
    raws = column.raws().tolist()
    assert presence is None or not presence.all()
    given = range(len(raws)) if presence is None else np.flatnonzero(presence).tolist()
    values = column.values[list(given)]
    assert column.low <= values.min() and values.max() <= column.high
    return {row: raws[row] for row in given}


@given(writes())
@settings(max_examples=150)
def test_a_block_is_a_dictionary_and_its_readings_stand_still(case: tuple[Kind, list[dict[int, Any]]]) -> None:
    kind, steps = case
    block, model = ValueBlock(kind), dict[int, int]()
    taken = list[tuple[EventColumn | None, dict[int, int]]]()
    for step in steps:
        setting = {row: int(raws_of([value])[0]) for row, value in step.items() if value is not None}
        clearing = [row for row in step if row not in setting]
        if setting:
            block.put(local(list(setting)), np.array(list(setting.values()), np.int64))
        if clearing:
            block.clear(local(clearing))
        model = {row: raw for row, raw in {**model, **setting}.items() if row not in clearing}
        everything = local([*range(21), MORSEL_ROWS - 1])
        held = block.has(everything)
        assert {int(row) for row in everything[held]} == {row for row in model if row in everything}
        assert block.raws(everything[held]).tolist() == [model[int(row)] for row in everything[held]]
        assert len(block) == len(model)
        taken.append((block.reading(MORSEL_ROWS), dict(model)))
    for reading, expected in taken:
        assert contents(reading) == expected


def test_narrow_values_take_little_room() -> None:
    block = ValueBlock(Kind.FLOAT)
    rows = np.arange(MORSEL_ROWS, dtype=np.uint16)
    block.put(rows, raws_of([number / 100 for number in range(MORSEL_ROWS)]))
    assert block.nbytes == MORSEL_ROWS * 2 + MORSEL_ROWS // 8
    block.put(rows[:1], raws_of([0.123456789]))
    assert block.nbytes == MORSEL_ROWS * 8 + MORSEL_ROWS // 8


@given(st.lists(st.dictionaries(ROWS, st.integers(-(10**9), 10**12), min_size=1, max_size=9), max_size=6))
@settings(max_examples=100)
@pytest.mark.parametrize("sparse_max", [3, 1000])
def test_times_are_a_dictionary_and_their_readings_stand_still(sparse_max: int, steps: list[dict[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_times, "SPARSE_TIMES_MAX", sparse_max)
        times, model = ChangeTimes(), dict[int, int]()
        taken = [(times.reading(MORSEL_ROWS), dict(model))]
        for step in steps:
            times.put(local(list(step)), np.array(list(step.values()), np.int64))
            model |= step
            asked = local([*range(21), BLOCK_ROWS_MIN])
            held, found = times.find(asked)
            assert {int(row): int(at) for row, at in zip(asked[held], found[held], strict=True)} == {
                row: at for row, at in model.items() if row in asked
            }
            taken.append((times.reading(MORSEL_ROWS), dict(model)))
    for reading, expected in taken:
        rows, found = (np.zeros(0), np.zeros(0)) if reading is None else reading.given()
        assert list(zip(rows.tolist(), found.tolist(), strict=True)) == sorted(expected.items())


def test_creation_is_the_earliest_time_and_first_set_the_first_to_arrive() -> None:
    times = ProfileTimes()
    rows = np.array([0, 1, MORSEL_ROWS], np.uint32)
    first = times.update(rows, np.array([50, NOT_CREATED, 70]), np.array([50, 60, 65]))
    assert first.tolist() == [50, NOT_CREATED, 70]
    before = times.capture(MORSEL_ROWS + 1)
    assert times.update(rows, np.array([40, 55, NOT_CREATED]), np.array([40, 55, 99])).tolist() == [50, 55, 70]
    after = times.capture(MORSEL_ROWS + 1)
    for reading, created in ((before, [50, 60, 65]), (after, [40, 55, 65])):
        assert [reading.created_ms_of(int(row)) for row in rows] == created
        for instant in (39, 50, 59, 64, 65, 1000):
            found = reading.created_by(instant)
            assert found.shape[0] == MORSEL_ROWS + 1
            assert found[rows].tolist() == [at <= instant for at in created]
