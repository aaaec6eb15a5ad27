"""Parts of reports over the wire, the tables made of them, and those tables on a terminal."""

from __future__ import annotations

import io

import pyarrow as pa
from cdp.v1 import query_pb2, report_part_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cdp_query import tree
from cdp_query.language import parse
from cdp_query.pipeline import prepare
from cdp_router.cli.ask.report_tables import duration, funnel_tables, report_table
from cdp_router.client.report_frames import report_frame
from cdp_router.contract.report_codec import from_part, to_part
from tests import strategies, strategies_attempts, strategies_reports
from tests.answered import report_answer
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

_DAY = 86_400_000
ANN, BOB = user("ann"), user("bob")


@given(
    strategies.records(25),
    st.one_of(strategies_reports.reports(), strategies_attempts.funnels(), strategies.funnels()),
    strategies.contexts(),
)
@settings(max_examples=60)
def test_a_part_survives_the_way_over_bytes(
    records: list[Record], report: tree.Report | tree.Funnel, context: tree.Context
) -> None:
    shards = Shards()
    shards.apply(records)
    part = shards.ask(report, context).report
    message = to_part(part)
    assert message is not None
    assert from_part(report_part_pb2.ReportPart.FromString(message.SerializeToString())) == part


def test_no_part_is_no_message() -> None:
    assert to_part(None) is None
    assert from_part(report_part_pb2.ReportPart()) is None


def _answered(text: str, records: list[Record], as_of_ms: int = 10 * _DAY) -> query_pb2.QueryResponse:
    shards, context = Shards(2), tree.Context(as_of_ms)
    shards.apply(records)
    partial = shards.ask(prepare(text, None, context), context)
    answer = report_answer(parse(text), partial.report, context)
    answer.funnel.extend(query_pb2.FunnelStep(label="step", count=count) for count in partial.steps)
    answer.count = partial.count
    return answer


def _shown(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in parts:
        console.print(part)
    shown = console.file
    assert isinstance(shown, io.StringIO)
    return shown.getvalue()


_BUYS: list[Record] = [
    Event(ANN, "View", 0, {"way": "mail"}),
    Event(ANN, "Buy", _DAY, {"amount": 2}),
    Event(BOB, "View", _DAY),
    Event(BOB, "Buy", _DAY + 3_600_000, {"amount": 0.5}),
    Change(BOB, 0, {"plan": ["a", "b"]}),
]


def test_a_trend_on_a_terminal_marks_what_is_open() -> None:
    answer = _answered('trend("Buy".amount, unit: day, from: 1970-01-01, to: 1970-01-05)', _BUYS, 3 * _DAY)
    rows = [line.split() for line in _shown(report_table(answer)).splitlines()]
    assert rows[1:] == [
        ["1970-01-01", "0", "0", "0.00", "0", "-"],
        ["1970-01-02", "2", "2", "1.00", "2.5", "1.25"],
        ["1970-01-03", "0", "0", "0.00", "0", "-"],
        ["1970-01-04*", "0", "0", "0.00", "0", "-"],
    ]


def test_a_lifecycle_on_a_terminal_and_as_a_frame() -> None:
    answer = _answered('lifecycle("Buy", unit: day, from: 1970-01-01, to: 1970-01-05)', _BUYS, 3 * _DAY)
    rows = [line.split() for line in _shown(report_table(answer)).splitlines()]
    assert rows == [
        ["period", "new", "returning", "resurrecting", "dormant"],
        ["1970-01-01", "0", "0", "0", "0"],
        ["1970-01-02", "2", "0", "0", "0"],
        ["1970-01-03", "0", "0", "0", "2"],
        ["1970-01-04*", "0", "0", "0", "0"],
    ]
    frame = report_frame(answer)
    assert frame is not None
    assert frame.column_names == ["start", "label", "new", "returning", "resurrecting", "dormant", "incomplete"]
    assert frame.column("start").type == pa.timestamp("ms", "UTC")
    assert frame.column("dormant").to_pylist() == [0, 0, 2, 0]


def test_a_retention_on_a_terminal_marks_what_is_open() -> None:
    answer = _answered('retention("View", return: "Buy", unit: day, periods: 3)', _BUYS, 3 * _DAY)
    rows = [line.split() for line in _shown(report_table(answer)).splitlines()]
    assert rows[1:3] == [
        ["1970-01-01", "1", "0.0%", "100.0%", "0.0%"],
        ["1970-01-02", "1", "100.0%", "0.0%", "0.0%*"],
    ]


def test_a_funnel_on_a_terminal_shows_groups_times_and_what_is_open() -> None:
    answer = _answered('funnel("View" -> "Buy", within: 2d, by_entry: way, times: on)', _BUYS)
    shown = _shown(*funnel_tables(answer))
    assert "mail" in shown
    assert "(none)" in shown
    assert "median 12.5 h, from 1.0 h to 1.0 d" in shown
    still_open = _answered('funnel("View" -> "Sell", within: 2d)', _BUYS, 2 * _DAY)
    assert "1 has not converted and still may" in _shown(*funnel_tables(still_open))


def test_a_funnel_by_a_list_counts_a_user_under_each_item() -> None:
    answer = _answered('funnel("View" -> "Buy", by: plan)', _BUYS)
    groups = [(row.value.text, list(row.steps)) for row in answer.funnel_report.groups]
    assert groups == [("a", [1, 1]), ("b", [1, 1]), ("", [1, 1])]


def test_a_flow_on_a_terminal_is_a_tree() -> None:
    answer = _answered('flow(["View", "Buy"], depth: 2, anchor: each, within: 2d)', _BUYS, _DAY + 3_600_000)
    assert [line.rstrip() for line in _shown(report_table(answer)).splitlines()[1:]] == [
        "(start)            4      100.0%             2",
        "  Buy              2      50.0%              2",
        "(may still go on)  4",
    ]


def test_durations_are_shown_in_their_largest_unit() -> None:
    spans = (0, 999, 1500, 90_000, 5_400_000, 129_600_000)
    assert [duration(ms) for ms in spans] == ["0 ms", "999 ms", "1.5 s", "1.5 min", "1.5 h", "1.5 d"]
