"""A profile's records, page by page, are all there are, each once, in order of time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.identity.pages import Place, read_records
from cdp_store.ids import encode_identifier
from cdp_store.limits import BUCKET_MS
from cdp_store.memory.contents import contents_of, is_creation, record_hashes
from cdp_store.records.records import RecordBatch
from tests.raw_records import Change, Event, Record, user
from tests.shards import filled

ANN, BOB = user("ann"), user("bob")


@st.composite
def lives(draw: st.DrawFn) -> list[Record]:
    """Records of two people over some buckets, with many equal times."""
    records = list[Record]()
    for _ in range(draw(st.integers(0, 40))):
        who = draw(st.sampled_from([ANN, ANN, ANN, BOB]))
        ts = draw(st.sampled_from([0, 1, 2])) + BUCKET_MS * draw(st.integers(0, 20))
        if draw(st.booleans()):
            values = draw(st.sampled_from([{}, {"n": 1}, {"s": "text", "l": ["a", 1]}, {"f": 1.5}]))
            records.append(Event(who, draw(st.sampled_from(["A", "B", "C"])), ts, values))
        else:
            records.append(Change(who, ts, {draw(st.sampled_from(["p", "q"])): draw(st.sampled_from([1, "x", None]))}))
    return records


def _hashes(batch: RecordBatch) -> list[int]:
    hashes: list[int] = record_hashes(batch).tolist()
    return hashes


@given(lives(), st.integers(1, 7), st.sampled_from([1, 300, 1 << 20]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_pages_of_any_size_hold_all_that_there_is(
    records: list[Record], records_max: int, bytes_max: int, sealed: bool
) -> None:
    partition = filled([*records, Change(ANN, 0, {})])
    if sealed:
        partition.maintain(0)
    view, row, origins = partition.locate_person(encode_identifier(*ANN))
    assert row is not None and origins is None
    contents = contents_of(view, [row])
    contents = contents.take(np.flatnonzero(~is_creation(contents)))
    wanted = contents.take(np.argsort(contents.record_times, kind="stable"))
    after, found, pages = Place(), list[int](), 0
    while True:
        page = read_records(view, row, after, records_max, bytes_max)
        found += _hashes(page.records)
        pages += 1
        assert len(page.records) <= records_max
        if page.after is None:
            break
        assert len(page.records) >= 1
        after = page.after
    assert found == _hashes(wanted)
    assert pages >= -(-len(wanted) // records_max)


@pytest.mark.parametrize(("records_max", "sizes"), [(4, [3, 4, 3]), (3, [3, 3, 1, 3]), (100, [10])])
def test_a_page_ends_between_two_instants_unless_one_fills_it(records_max: int, sizes: list[int]) -> None:
    times = [1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    view, row, _ = filled([Event(ANN, "A", ts, {"n": n}) for n, ts in enumerate(times)]).locate_person(
        encode_identifier(*ANN)
    )
    assert row is not None
    found, after = list[int](), None
    while True:
        page = read_records(view, row, after, records_max)
        found.append(len(page.records))
        after = page.after
        if after is None:
            break
    assert found == sizes
