"""Parts written alike, far apart in a segment, are evaluated once."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.bind.twins import repeated
from cdp_query.language import parse
from cdp_query.reports.overlap_report import OverlapPart
from tests import oracle, strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

_CONTEXT = tree.Context(1000)


def _shards() -> Shards:
    shards = Shards()
    records: list[Record] = [
        Event(user(f"u{number % 40}"), "AB"[number % 2], number, {"x": number}) for number in range(300)
    ]
    shards.apply([*records, *(Change(user(f"u{number}"), 0, {"n": number, "flag": True}) for number in range(40))])
    return shards


@pytest.mark.parametrize(
    ("text", "evaluated"),
    [
        ('(n > 20 and (count("A") > 3 or n = 9)) or (n < 5 and count("A") > 3)', 4),
        ('count("A") > 3 and n > 20', 2),
        ('(n = 1 and count("A") > 3) or (flag = true and n = 2)', 4),
    ],
)
def test_a_part_is_evaluated_once_however_often_it_is_written(text: str, evaluated: int) -> None:
    shards = _shards()
    [view] = shards.capture()
    stats = pipeline.evaluate(pipeline.check(parse(text), _CONTEXT), view, Binder(_CONTEXT)).stats
    assert sum(each.evaluations for each in stats.values() if each.chunks) == evaluated


def test_one_is_not_true() -> None:
    """Both compare equal in Python, and not in a question."""
    [view] = _shards().capture()
    segment = tree.Any(
        (
            tree.AttributeTest("n", tree.Compare(tree.Op.EQ, 1)),
            tree.AttributeTest("n", tree.Compare(tree.Op.EQ, True)),
        )
    )
    assert repeated(Binder(_CONTEXT).bind(segment, view.schema)) == frozenset()


@given(strategies.records(), st.lists(strategies.segments(1), min_size=2, max_size=3), strategies.contexts(), st.data())
@settings(max_examples=100)
def test_segments_of_few_different_parts_answer_like_the_oracle(
    records: list[Record], parts: list[tree.Node], context: tree.Context, data: st.DataObject
) -> None:
    def some() -> tree.Node:
        part = data.draw(st.sampled_from(parts))
        return tree.Not(part) if data.draw(st.booleans()) else part

    segment = tree.Any(tuple(tree.All(tuple(some() for _ in range(3))) for _ in range(3)))
    shards = Shards(2)
    shards.apply(records)
    with patch.multiple("cdp_query.scan.narrowed", FEW=0, _FEWER=0, WORTH_NARROWING=0):
        assert shards.members(segment, context) == oracle.members(segment, records, context)


def test_what_is_kept_is_right_for_rows_that_were_decided_when_it_was_evaluated() -> None:
    shards = _shards()
    text = '(n < 5 and (count("A", x >= 0) > 3 or n = 9)) or (n > 30 and flag = true and count("A", x >= 0) > 3)'
    expected = shards.ask(parse(text), _CONTEXT).count
    with patch.multiple("cdp_query.scan.narrowed", FEW=0, _FEWER=0, WORTH_NARROWING=0):
        assert shards.ask(parse(text), _CONTEXT).count == expected > 3


def test_segments_of_one_report_do_not_share_numbers() -> None:
    shards = _shards()
    report = parse(
        'overlap((n > 20 and (count("A") > 3 or n = 9)) or (n < 5 and count("A") > 3), count("B") > 3 or n = 1)'
    )
    found = shards.ask(report, _CONTEXT)
    for number, text in enumerate(
        ('(n > 20 and (count("A") > 3 or n = 9)) or (n < 5 and count("A") > 3)', 'count("B") > 3 or n = 1')
    ):
        alone = shards.ask(parse(text), _CONTEXT).count
        assert alone > 0
        assert isinstance(found.report, OverlapPart)
        assert sum(count for bits, count in enumerate(found.report.counts) if bits >> number & 1) == alone
