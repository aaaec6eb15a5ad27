"""What is kept with the tree of a question changes no answer, at whatever instant and in whatever zone it is asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder, Findings
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_store.values import to_ms
from tests import strategies
from tests.raw_records import Change, Record, user
from tests.shards import Shards

_JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
_JANUARY_MS = to_ms(_JANUARY)
_HOUR_MS = 3_600_000


@given(strategies.records(), strategies.segments(), st.lists(strategies.contexts(), min_size=2, max_size=3))
@settings(max_examples=150)
def test_a_tree_that_is_asked_again_gives_the_answers_of_a_new_one(
    records: list[Record], segment: tree.Node, contexts: list[tree.Context]
) -> None:
    shards, findings = Shards(2), Findings()
    shards.apply(records)
    views = shards.capture()
    for context in (*contexts, contexts[0]):
        try:
            expected = pipeline.evaluate_all(segment, views, Binder(context)).count
        except QueryInvalid:
            with pytest.raises(QueryInvalid):
                pipeline.evaluate_all(segment, views, Binder(context, findings))
        else:
            assert pipeline.evaluate_all(segment, views, Binder(context, findings)).count == expected


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("at within last 7d", 1, 0),
        ("at older than 7d", 0, 1),
        ("anniversary(at, 0d..7d)", 1, 0),
        ("any(places, at within last 7d)", 1, 0),
        ("plan in [1, 2]", 1, 1),
    ],
)
def test_a_condition_on_times_is_not_kept_from_one_instant_to_the_next(text: str, before: int, after: int) -> None:
    shards, findings = Shards(), Findings()
    shards.apply([Change(user("u"), 0, {"at": _JANUARY, "plan": 1, "places": [{"at": _JANUARY}]})])
    [view], segment = shards.capture(), parse(text)
    for instant_ms, count in ((_JANUARY_MS, before), (_JANUARY_MS + 30 * 24 * _HOUR_MS, after)):
        found = pipeline.evaluate(segment, view, Binder(tree.Context(instant_ms), findings))
        assert found.count == count


def test_a_condition_on_times_is_not_kept_from_one_zone_to_the_next() -> None:
    shards, findings = Shards(), Findings()
    shards.apply([Change(user("u"), 0, {"at": _JANUARY})])
    [view], segment = shards.capture(), parse("at = 2026-01-01")
    for zone, count in (("UTC", 1), ("America/New_York", 0)):
        found = pipeline.evaluate(segment, view, Binder(tree.Context(_JANUARY_MS, zone), findings))
        assert found.count == count, zone
