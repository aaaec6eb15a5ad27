"""Tables of reports on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cdp.v1 import query_pb2, report_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from cdp_router.cli.console import plain, value_label
from cdp_router.cli.terminal_tables import Table
from cdp_router.contract.report_rows import is_instant, is_value, report_rows
from cdp_router.contract.values import from_value

_OPEN_MARK = "*"
_OPEN = "incomplete"
_TITLES = {"label": "period", "events_per_user": "events a user"}
_GROUPS_SHOWN = 25
_NODES_SHOWN = 60


def report_table(answer: query_pb2.QueryResponse) -> Table | None:
    """The table of the report that the answer holds, if any; what is still open at T bears a star."""
    form = answer.WhichOneof("report")
    if form is None or form == "funnel_report":
        return None
    return _TABLES.get(form, _rows_table)(getattr(answer, form))


def report_legend(answer: query_pb2.QueryResponse) -> str:
    """The meaning of the star, where a cell of the report's table bears one."""
    form = answer.WhichOneof("report")
    if form == "retention":
        is_open = any(row.complete_periods < len(row.returned) for row in answer.retention.rows)
        return f"{_OPEN_MARK} incomplete: the period is not over yet for every user of the row" if is_open else ""
    if form is None or form in _TABLES or form == "funnel_report":
        return ""
    rows, fields = report_rows(getattr(answer, form))
    is_open = any(field.name == _OPEN for field in fields) and any(getattr(row, _OPEN) for row in rows)
    return f"{_OPEN_MARK} incomplete: the window or the instant of the question cuts the period" if is_open else ""


def funnel_tables(answer: query_pb2.QueryResponse) -> list[Table | str]:
    """Parts of a funnel besides its steps: groups, times to convert, and the number of attempts that are still open."""
    report, shown = answer.funnel_report, list[Table | str]()
    if report.groups:
        steps = len(answer.funnel)
        table = Table(
            "entry", *(f"{step}" for step in range(1, steps + 1)), "converted", "median", box=None, pad_edge=False
        )
        rows = [*report.groups[:_GROUPS_SHOWN]]
        for group in rows:
            value = from_value(group.value)
            table.add_row(value_label(value), *_group_cells(group))
        hidden = [*report.groups[_GROUPS_SHOWN:], *([report.rest] if report.HasField("rest") else [])]
        if hidden:
            sums = [sum(group.steps[step] for group in hidden) for step in range(steps)]
            table.add_row("(more)", *_group_cells(report_pb2.FunnelGroupRow(steps=sums)))
        shown.append(table)
    if report.HasField("times"):
        times = report.times
        shown.append(
            f"time to convert: median {duration(times.median)}, from {duration(times.shortest)} to"
            f" {duration(times.longest)}, one in ten within {duration(times.p10)}, nine within {duration(times.p90)}"
        )
    if report.incomplete:
        shown.append(f"{report.incomplete:,} {'has' if report.incomplete == 1 else 'have'} not converted and still may")
    return shown


def _group_cells(group: report_pb2.FunnelGroupRow) -> list[str]:
    median = duration(group.times.median) if group.HasField("times") else "-"
    return [*(f"{count:,}" for count in group.steps), share(group.steps[-1], group.steps[0]), median]


def duration(milliseconds: float) -> str:
    """A span of time in its largest fitting unit."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds >= length:
            return f"{milliseconds / length:.1f} {unit}"
    return f"{milliseconds:.0f} ms"


def share(part: int, whole: int) -> str:
    """A part of a whole in percent."""
    return f"{part / whole:.1%}" if whole else "-"


def _rows_table(report: Message) -> Table:
    """A row each, without instants; values only where any row has one."""
    rows, fields = report_rows(report)
    has_values = any(row.HasField(field.name) for row in rows for field in fields if is_value(field))
    shown = [
        field
        for field in fields
        if not is_instant(field) and field.name != _OPEN and (has_values or not is_value(field))
    ]
    table = Table(*(_TITLES.get(field.name, field.name) for field in shown), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row, field) for field in shown))
    return table


def _cell(row: Any, field: FieldDescriptor) -> str:
    """A field as people read it: what is open bears a star, and a sum that no number holds is too large."""
    if is_value(field) and not row.HasField(field.name):
        return "(too large)" if field.name == "sum" and row.HasField("average") else "-"
    match getattr(row, field.name):
        case str() as text:
            return text + _OPEN_MARK * getattr(row, _OPEN, False)
        case int() as number:
            return f"{number:,}"
        case float() as number:
            return f"{number:.2f}"
        case value:
            return plain(from_value(value))


def _retention_table(report: report_pb2.RetentionReport) -> Table:
    periods = len(report.rows[0].returned) if report.rows else 0
    table = Table("entered", "users", *map(str, range(periods)), box=None, pad_edge=False)
    for row in report.rows:
        cells = (
            share(count, row.users) + _OPEN_MARK * (period >= row.complete_periods)
            for period, count in enumerate(row.returned)
        )
        table.add_row(row.label, f"{row.users:,}", *cells)
    return table


def _overlap_table(report: report_pb2.OverlapReport) -> Table:
    table = Table("segments", "users in all", "and in no other", box=None, pad_edge=False)
    for row in report.rows:
        table.add_row(" + ".join(map(str, row.segments)), f"{row.all:,}", f"{row.only:,}")
    table.add_row("none", f"{report.in_none:,}", "")
    return table


def _distribution_table(report: report_pb2.DistributionReport) -> Table:
    table = Table("from", "to", "users", "share", box=None, pad_edge=False)
    for found in report.histogram:
        table.add_row(f"{found.low:g}", f"{found.high:g}", f"{found.count:,}", share(found.count, report.count))
    if report.undefined:
        table.add_row("(none)", "", f"{report.undefined:,}", "")
    if report.count:
        table.add_row("mean", f"{report.mean:g}", "", "")
        for quantile in report.quantiles:
            table.add_row(f"{quantile.share:.0%}", f"{quantile.value:g}", "", "")
    return table


def _rfm_table(report: report_pb2.RfmReport) -> Table:
    """Rows are recency, columns frequency; the names of the cells below."""
    table = Table("R \\ F", *map(str, range(1, 6)), box=None, pad_edge=False)
    for recency in range(5, 0, -1):
        counts = [
            sum(cell.count for cell in report.cells if (cell.recency, cell.frequency) == (recency, frequency))
            for frequency in range(1, 6)
        ]
        table.add_row(str(recency), *(f"{count:,}" for count in counts))
    for named in report.names:
        table.add_row(named.name, f"{named.count:,}")
    return table


def _flow_table(report: report_pb2.FlowReport) -> Table:
    """The most frequent nodes, each indented behind the one it comes from, with its share of that one."""
    table = Table("path", "count", "of the one before", "ended here", box=None, pad_edge=False)
    counts = {tuple(node.path): node.count for node in report.nodes}
    shown = sorted(counts, key=lambda path: (-counts[path], len(path)))[:_NODES_SHOWN]
    for node in report.nodes:
        path = tuple(node.path)
        if path not in shown:
            continue
        name = plain(path[-1]) if path else "(start)"
        before = counts[path[:-1]] if path else node.count
        table.add_row("  " * len(path) + name, f"{node.count:,}", share(node.count, before), f"{node.ended:,}")
    hidden = report.node_count - len(shown)
    if hidden > 0:
        table.add_row(f"({hidden:,} more)", "", "", "")
    if report.incomplete:
        table.add_row("(may still go on)", f"{report.incomplete:,}", "", "")
    return table


_TABLES: Final[Mapping[str, Callable[[Any], Table]]] = {
    "retention": _retention_table,
    "overlap": _overlap_table,
    "distribution": _distribution_table,
    "rfm": _rfm_table,
    "flow": _flow_table,
}
