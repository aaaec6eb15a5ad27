"""Tables of reports on the terminal."""

from __future__ import annotations

from cdp.v1 import query_pb2, report_pb2

from cdp_router.cli.console import plain, value_label
from cdp_router.cli.terminal_tables import Table
from cdp_router.contract.values import from_value

_OPEN_MARK = "*"
_GROUPS_SHOWN = 25
_NODES_SHOWN = 60


def report_table(answer: query_pb2.QueryResponse) -> Table | None:
    """The table of the report that the answer holds, if any; what is still open at T bears a star."""
    match answer.WhichOneof("report"):
        case "trend":
            return _trend_table(answer.trend)
        case "retention":
            return _retention_table(answer.retention)
        case "overlap":
            return _overlap_table(answer.overlap)
        case "diff":
            return _diff_table(answer.diff)
        case "distribution":
            return _distribution_table(answer.distribution)
        case "rfm":
            return _rfm_table(answer.rfm)
        case "flow":
            return _flow_table(answer.flow)
    return None


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
        shown.append(f"{report.incomplete:,} have not converted and still may")
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


def _trend_table(report: report_pb2.TrendReport) -> Table:
    has_sum = any(row.HasField("sum") or row.HasField("average") for row in report.rows)
    table = Table("period", "events", "users", "events a user", box=None, pad_edge=False)
    for name in ("sum", "average") if has_sum else ():
        table.add_column(name)
    for row in report.rows:
        cells = [
            row.label + _OPEN_MARK * row.incomplete,
            f"{row.events:,}",
            f"{row.users:,}",
            f"{row.events_per_user:.2f}",
        ]
        if has_sum:
            average = plain(from_value(row.average)) if row.HasField("average") else "-"
            missing = "(too large)" if row.HasField("average") else "-"
            cells += [plain(from_value(row.sum)) if row.HasField("sum") else missing, average]
        table.add_row(*cells)
    return table


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


def _diff_table(report: report_pb2.DiffReport) -> Table:
    table = Table("entered", "left", "stayed", box=None, pad_edge=False)
    table.add_row(f"{report.entered:,}", f"{report.left:,}", f"{report.stayed:,}")
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
