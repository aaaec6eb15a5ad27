"""Meanings that could be read in two ways, one worked example each; docs/reference/semantics.md has the sentences."""

from __future__ import annotations

import pytest

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.reports.funnel_report import FunnelPart
from cdp_query.reports.retention_report import retention_rows
from tests import oracle
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

ANN = user("ann")
DAY = 86_400_000
CONTEXT = tree.Context(100 * DAY)


def _at(*events: tuple[str, int]) -> list[Record]:
    return [Event(ANN, name, ts) for name, ts in events]


def _holds(text: str, records: list[Record]) -> bool:
    shards, question = Shards(), parse(text)
    shards.apply(records)
    assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
    found = ANN in shards.members(question, CONTEXT)
    assert found == (ANN in oracle.members(question, records, CONTEXT))
    return found


def _funnel(text: str, records: list[Record], as_of: int = 100 * DAY) -> FunnelPart:
    shards = Shards()
    shards.apply(records)
    part = shards.ask(parse(text), tree.Context(as_of)).report
    assert isinstance(part, FunnelPart)
    return part


def test_totals_may_convert_fewer_times_than_users_convert() -> None:
    """The entry at 2 comes while the time of the attempt from 0 is not up, and starts none."""
    records = _at(("A", 0), ("B", 1), ("A", 2), ("B", 3), ("C", 4))
    text = 'funnel("A" -> "B" -> "C", within: 2ms, mode: {})'
    assert _funnel(text.format("totals"), records).whole.steps == (1, 1, 0)
    assert _funnel(text.format("deepest"), records).whole.steps == (1, 1, 1)


def test_at_one_instant_several_names_stand_in_the_order_of_the_question() -> None:
    records: list[Record] = [Event(ANN, "B", 5, {"k": 2}), Event(ANN, "A", 5, {"k": 1})]
    assert _holds('last(["A", "B"].k) = 2', records)
    assert _holds('last(["B", "A"].k) = 1', records)
    assert _holds('first(["A", "B"].k) = 1', records)
    one_name: list[Record] = [Event(ANN, "A", 5, {"k": 2}), Event(ANN, "A", 5, {"k": 1})]
    assert _holds('last("A".k) = 1 and first("A".k) = 2', one_name)


def test_an_attempt_is_incomplete_while_the_smaller_of_its_limits_is_not_over() -> None:
    records = _at(("A", 0))
    text = 'funnel("A" -> "B", within: 10d, within_each: 2d)'
    assert _funnel(text, records, 2 * DAY - 1).incomplete == 1
    assert _funnel(text, records, 2 * DAY).incomplete == 0


def test_another_entry_at_the_same_instant_is_a_return() -> None:
    shards = Shards()
    shards.apply(_at(("A", 5), ("A", 5)))
    report = parse('retention("A", return: "A", unit: day, periods: 1)')
    assert isinstance(report, tree.Retention)
    rows = retention_rows(report, shards.ask(report, CONTEXT).report, CONTEXT)
    assert (rows[0].users, rows[0].returned) == (1, (1,))


def test_a_value_of_another_type_differs_now_but_not_in_the_history() -> None:
    records: list[Record] = [Change(ANN, 1, {"v": "x"})]
    assert _holds("v != 5", records)
    assert not _holds("was(v != 5)", records)
    assert not _holds("value_at(v, 1970-02-01) != 5", records)
    assert _holds("not was(v = 5)", records)


def test_history_up_to_a_later_date_is_that_up_to_now_and_a_diff_is_refused() -> None:
    records: list[Record] = [Change(ANN, 1, {"v": "x"})]
    assert _holds('value_at(v, 2999-01-01) = "x"', records)
    assert _holds('changed(v, to: "x", during: 1970-01-01..2999-01-01)', records)
    with pytest.raises(QueryInvalid, match="is after the instant"):
        Shards().ask(parse("diff(everyone, from: 1970-01-01, to: 2999-01-01)"), CONTEXT)


@pytest.mark.parametrize("length", ["1mo", "1y"])
def test_the_window_of_a_user_has_a_fixed_length(length: str) -> None:
    with pytest.raises(QueryInvalid, match="no fixed length"):
        _holds(f'did("A", within: {length}, of_first: "B")', [])
