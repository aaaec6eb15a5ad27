"""What parts of questions may take of memory: bounds held against what NumPy really allocates."""

from __future__ import annotations

import tracemalloc
from functools import cache
from random import Random

import pytest

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.errors import QueryTooLarge
from cdp_query.evaluate.needs import check_needs, needed_bytes
from cdp_query.evaluate.plan import plan
from cdp_store.ids import USER_ID, PartitionId, SequenceNumber
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from tests.shards import KEY

DAY_MS = 86_400_000
ROWS, EVENTS = 12_000, 60_000
CONTEXT = tree.Context(91 * DAY_MS)
_OBJECTS = 300_000  # bytes of what is no array: the bound tree, statistics

SEGMENTS = (
    'plan = "gold"',
    "age > 30",
    "bucket between 0 and 499",
    'did("A", last: 30d)',
    'did("A", way = "w1")',
    'count("A", n > 3) >= 2',
    'count("A", within: 7d, of_first: "B") > 0',
    'first_time("A", last: 30d)',
    'recency("A") > 3d',
    'sum("A".n, last: 30d) > 100',
    'sum("A".price) > 10',
    'avg("A".price) > 10',
    'min("A".price) > 10',
    'median("A".price) > 10',
    'distinct("A".way) > 2',
    'streak("A") > 1',
    'weeks("A") > 1',
    'first("A".way) = "w1"',
    'nth("A", 2, n > 3)',
    'mostly("A".way = "w1")',
    'share("A".way = "w1") > 0.1',
    'regularly("A", 1 per week, 2 of last 4)',
    'stopped("A", ago: 30d..60d, last: 30d)',
    'count("A") > 2 * count("B") + distinct("C".way)',
    'sequence("A" -> "B" -> "C", within: 7d)',
    'sequence("A" -> "B" -> "A", within: 7d)',
    'sequence("A" -> "B", within: 7d, hold: way)',
    'sequence("A" -> without "C" -> "B", order: ordered, since: born)',
    'was(plan = "gold", last: 30d)',
    "changed(plan)",
)
TWELVE = (
    'plan = "gold" and age > 1 and did("A", last: 80d) and count("B") >= 0 and not did("C", last: 1h)'
    ' and count("D", last: 60d) < 90 and bucket between 0 and 990 and exists(born)'
    ' and first_time("A", last: 90d) and did("D") and recency("B") < 89d and not plan = "x"'
)


@cache
def _view() -> PartitionView:
    chance, builder = Random(1), BatchBuilder()
    for number in range(ROWS):
        values = {"plan": ("gold", "free")[number % 2], "age": chance.randrange(80), "born": None}
        builder.add(USER_ID, f"u{number}", None, chance.randrange(90) * DAY_MS, values)
    for _ in range(EVENTS):
        properties = {
            "n": chance.randrange(200),
            "price": chance.randrange(10_000) / 100,
            "way": f"w{chance.randrange(9)}",
        }
        who = f"u{chance.randrange(ROWS)}"
        builder.add(USER_ID, who, "ABCD"[chance.randrange(4)], chance.randrange(90 * DAY_MS), properties)
    partition = Partition(PartitionId(0), KEY)
    partition.apply(builder.finish(b"all"), SequenceNumber(1))
    partition.maintain(0)
    return partition.capture()


def _allocated(text: str) -> int:
    """Most bytes that were allocated at any time of an evaluation, after one that compiled and decided all strings."""
    view, question = _view(), pipeline.prepare(text, None, CONTEXT)
    pipeline.evaluate(question, view, Binder(CONTEXT))
    tracemalloc.start()
    try:
        pipeline.evaluate(question, view, Binder(CONTEXT))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [*SEGMENTS, TWELVE])
def test_no_segment_takes_more_than_it_was_said_to_need(text: str) -> None:
    view = _view()
    segment = pipeline.segment_of(pipeline.prepare(text, None, CONTEXT))
    needed = needed_bytes(plan(Binder(CONTEXT).bind(segment, view.schema), view), view)
    assert _allocated(text) <= needed + _OBJECTS


def test_twelve_parts_take_a_few_bytes_a_row() -> None:
    """At 2 million profiles, in 16 partitions one after the other on a thread, that is some megabytes."""
    assert _allocated(TWELVE) <= 16 * ROWS + _OBJECTS


@pytest.mark.parametrize(
    "text",
    ['rfm("A".price)', 'flow("A", depth: 3, anchor: each)', 'funnel("A" -> "B", hold: way, times: on, by_entry: way)'],
)
def test_no_report_takes_more_than_its_events_are_said_to_need(text: str) -> None:
    events = sum(len(chunk) for name in _view().schema.events.values() for chunk in _view().event_chunks(name))
    assert events == EVENTS
    assert _allocated(text) <= 160 * EVENTS + 80 * ROWS + _OBJECTS


@pytest.mark.parametrize("text", SEGMENTS)
def test_what_needs_too_much_is_refused_before_it_is_evaluated(text: str) -> None:
    view = _view()
    segment = pipeline.segment_of(pipeline.prepare(text, None, CONTEXT))
    bound = plan(Binder(CONTEXT).bind(segment, view.schema), view)
    needed = needed_bytes(bound, view)
    check_needs(bound, view, needed)
    with pytest.raises(QueryTooLarge, match="shorter window, fewer event names or more partitions"):
        check_needs(bound, view, needed - 1)


def test_a_question_that_is_too_large_says_so_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_query.evaluate.needs.check_needs.__defaults__", (1 << 20,))
    monkeypatch.setattr("cdp_query.evaluate.needs.check_report_needs.__defaults__", (1 << 20,))
    for text in ('avg("A".price) > 10', 'overlap(plan = "gold", median("A".price) > 10)', 'rfm("A".price)'):
        with pytest.raises(QueryTooLarge, match="at most 1 MiB"):
            pipeline.evaluate(pipeline.prepare(text, None, CONTEXT), _view(), Binder(CONTEXT))
