"""Lifecycles against the oracle, in every state of the data, and worked examples."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.partial import Partial
from cdp_query.reports import lifecycle_report
from cdp_query.reports.lifecycle_report import lifecycle_rows
from cdp_store.limits import DAY_MS
from cdp_store.values import to_ms
from tests import oracle_reports, strategies, strategies_reports
from tests.raw_records import Event, Record, user
from tests.shards import Shards
from tests.states import every_state

ANN, BOB = user("ann"), user("bob")


def _at(iso: str) -> int:
    return to_ms(datetime.fromisoformat(iso).replace(tzinfo=UTC))


def _rows(
    report: tree.Lifecycle, partial: Partial, context: tree.Context
) -> tuple[int, list[oracle_reports.LifecycleRow]]:
    return partial.count, [
        oracle_reports.LifecycleRow(row.label, row.new, row.returning, row.resurrecting, row.dormant, row.incomplete)
        for row in lifecycle_rows(report, partial.report, context)  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("at_once", [16, 512])
@given(
    strategies.records(),
    st.sampled_from((1, 3, 13)),
    st.lists(strategies_reports.lifecycles(), min_size=4, max_size=4),
    strategies.contexts(),
)
@settings(max_examples=12)
def test_lifecycles_are_the_oracles_in_every_state(
    at_once: int, records: list[Record], size: int, reports: list[tree.Lifecycle], context: tree.Context
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lifecycle_report, "_PERIODS_AT_ONCE", at_once)
        told: list[tuple[int, object]] = []
        for state, shards in every_state(records, size):
            views = shards.capture()
            parts = [shards.ask(report, context, views) for report in reports]
            if not told:
                told = [(part.count, part.report) for part in parts]
                for report, part in zip(reports, parts, strict=True):
                    expected = oracle_reports.lifecycle(report, records, context)
                    event(f"some returned: {any(row.returning or row.resurrecting for row in expected[1])}")
                    assert _rows(report, part, context) == expected
            assert [(part.count, part.report) for part in parts] == told, state


# ------------------------------------------------------------------------------------------------------ worked examples


@pytest.fixture(params=[2, 512])
def periods_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few periods at once, so that even short windows take several rounds; and as many as there are."""
    monkeypatch.setattr(lifecycle_report, "_PERIODS_AT_ONCE", request.param)


def _kinds(text: str, records: list[Record], as_of: str, tz: str = "UTC") -> dict[str, tuple[int, int, int, int, bool]]:
    shards, context = Shards(2), tree.Context(_at(as_of), tz)
    shards.apply(records)
    report = parse(text)
    assert isinstance(report, tree.Lifecycle)
    rows = _rows(report, shards.ask(report, context), context)[1]
    return {row.label: (row.new, row.returning, row.resurrecting, row.dormant, row.incomplete) for row in rows}


@pytest.mark.usefixtures("periods_at_once")
def test_the_window_chooses_periods_and_what_was_before_it_counts() -> None:
    records: list[Record] = [
        Event(who, "Buy", _at(day))
        for who, day in ((ANN, "2026-01-05"), (ANN, "2026-01-12"), (ANN, "2026-01-30"), (BOB, "2026-01-14"))
    ]
    text = 'lifecycle("Buy", unit: week, from: 2026-01-15, to: 2026-01-28)'
    assert _kinds(text, records, "2026-02-10") == {
        "2026-01-12": (1, 1, 0, 0, False),  # the whole week, though the window begins in it
        "2026-01-19": (0, 0, 0, 2, False),
        "2026-01-26": (0, 0, 1, 0, False),  # up to its end, though the window ends in it
    }
    assert _kinds(text, records, "2026-01-29")["2026-01-26"] == (0, 0, 0, 0, True)


@pytest.mark.usefixtures("periods_at_once")
def test_a_window_of_each_user_bounds_all_that_the_user_did() -> None:
    records: list[Record] = [
        Event(ANN, "Signup", _at("2026-01-02")),
        *(Event(ANN, "Buy", _at(day)) for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-09")),
    ]
    text = 'lifecycle("Buy", unit: day, within: 3d, of_first: "Signup")'
    assert _kinds(text, records, "2026-01-05") == {
        "2026-01-02": (1, 0, 0, 0, False),
        "2026-01-03": (0, 1, 0, 0, False),
        "2026-01-04": (0, 0, 0, 1, False),
        "2026-01-05": (0, 0, 0, 0, True),
    }


@pytest.mark.usefixtures("periods_at_once")
def test_a_day_that_the_zone_skipped_is_a_period_in_which_nobody_does_anything() -> None:
    """In Apia 30 December 2011 did not take place: the day after it follows on a day without anybody."""
    records: list[Record] = [Event(ANN, "Buy", _at(iso)) for iso in ("2011-12-29T12:00", "2011-12-30T12:00")]
    assert _kinds('lifecycle("Buy", unit: day)', records, "2011-12-31", "Pacific/Apia") == {
        "2011-12-29": (1, 0, 0, 0, False),
        "2011-12-30": (0, 0, 0, 1, False),
        "2011-12-31": (0, 0, 1, 0, True),
    }


def test_a_user_of_many_years_is_returning_every_day() -> None:
    """More periods than are counted at once, with gaps of more than that."""
    days = [0, *range(2_000, 2_600), 9_000]
    records: list[Record] = [Event(ANN, "Buy", day * DAY_MS) for day in days]
    found = _kinds('lifecycle("Buy", unit: day)', records, "1994-09-01")
    assert sum(row[0] for row in found.values()) == 1
    assert sum(row[1] for row in found.values()) == 599
    assert sum(row[2] for row in found.values()) == 2
    assert sum(row[3] for row in found.values()) == 3


def test_too_many_periods_and_an_unknown_unit_are_refused() -> None:
    records: list[Record] = [Event(ANN, "Buy", _at("1850-01-01")), Event(ANN, "Buy", _at("2026-01-01"))]
    with pytest.raises(QueryInvalid, match="give a window such as last: 90d, or a longer unit"):
        _kinds('lifecycle("Buy", unit: day)', records, "2026-02-01")
    with pytest.raises(QueryInvalid, match="a report counts by day, week, month"):
        Shards().ask(tree.Lifecycle(tree.Events(("Buy",)), "hour"), tree.Context(0))
