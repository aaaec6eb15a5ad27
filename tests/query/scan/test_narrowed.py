"""Later parts of a question read the rows that earlier parts left undecided: the answer must not tell."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.language import parse
from cdp_query.scan.narrowed import NarrowedView, chunk_of, narrowed
from tests import oracle, strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

DAY_MS = 86_400_000


@pytest.fixture(autouse=True, scope="module")
def _always_narrow() -> Iterator[None]:
    """However many rows are undecided."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdp_query.scan.narrowed.FEW", 0)
        patch.setattr("cdp_query.scan.narrowed._FEWER", 0)
        patch.setattr("cdp_query.scan.narrowed.WORTH_NARROWING", 0)
        patch.setattr("cdp_query.matching.decided._WORTH_GATHERING", 0)
        patch.setattr("cdp_query.matching.decided._WORTH_SEARCHING", 0)
        yield


@given(strategies.records(), strategies.segments(4), strategies.contexts())
@settings(max_examples=150)
def test_narrowing_changes_no_answer(records: list[Record], segment: tree.Node, context: tree.Context) -> None:
    shards = Shards(2)
    shards.apply(records[: len(records) // 2])
    shards.seal()
    shards.apply(records[len(records) // 2 :])
    assert shards.members(segment, context) == oracle.members(segment, records, context)


@given(strategies.records(), strategies.segments(1), strategies.segments(1), strategies.contexts())
@settings(max_examples=150)
def test_a_pair_of_leaves_is_decided_as_each_alone(
    records: list[Record], first: tree.Node, second: tree.Node, context: tree.Context
) -> None:
    shards = Shards()
    shards.apply(records)
    ones, others = shards.members(first, context), shards.members(second, context)
    assert shards.members(tree.All((first, second)), context) == ones & others
    assert shards.members(tree.Any((first, second)), context) == ones | others


def _crowd(shards: Shards) -> None:
    random, records = Random(7), list[Record]()
    for number in range(400):
        who = user(f"u{number}")
        records.append(Change(who, 0, {"n": number, "mail": f"u{number}@example.org"}))
        for _ in range(random.randrange(6)):
            records.append(Event(who, random.choice("AB"), random.randrange(90) * DAY_MS, {"x": random.randrange(9)}))
    shards.apply(records)


def test_later_parts_read_the_events_of_undecided_rows_only() -> None:
    shards = Shards()
    _crowd(shards)
    context = tree.Context(91 * DAY_MS)
    [view] = [partition.capture() for partition in shards.partitions]
    question = pipeline.check(parse('n < 20 and sum("A".x) > 3'), context)
    alone = pipeline.check(parse('sum("A".x) > 3'), context)
    read = sum(stats.events for stats in pipeline.evaluate(question, view, Binder(context)).stats.values())
    whole = sum(stats.events for stats in pipeline.evaluate(alone, view, Binder(context)).stats.values())
    assert 0 < read < whole / 10


def test_a_narrowed_chunk_is_a_whole_one_of_fewer_rows() -> None:
    shards = Shards()
    _crowd(shards)
    [view] = [partition.capture() for partition in shards.partitions]
    asked = np.arange(view.row_count) % 3 == 0
    inside = narrowed(view, asked)
    assert isinstance(inside, NarrowedView)
    for chunk in view.event_chunks(view.schema.events["A"]):
        own = chunk_of(inside, chunk)
        kept = asked[chunk.full_rows()]
        assert own.full_rows().tolist() == chunk.full_rows()[kept].tolist()
        assert own.full_times().tolist() == chunk.full_times()[kept].tolist()
        for key, column in own.columns.items():
            assert column.raws().tolist() == chunk.columns[key].raws()[kept].tolist()
        assert chunk_of(inside, chunk) is own


@pytest.mark.parametrize("condition", ['contains "9"', 'matches "u.9"'])
def test_strings_that_are_looked_at_count_as_read(condition: str) -> None:
    shards = Shards()
    _crowd(shards)
    [view] = shards.capture()
    context = tree.Context(91 * DAY_MS)
    written = sum(len(f"u{number}@example.org") for number in range(400))

    def read(text: str) -> int:
        stats = pipeline.evaluate(pipeline.check(parse(text), context), view, Binder(context)).stats
        return sum(each.bytes for each in stats.values())

    assert read(f"mail {condition}") > written
    assert read(f"n = 7 and mail {condition}") < read(f"mail {condition}") / 2
