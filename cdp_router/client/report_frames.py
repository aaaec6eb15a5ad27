"""The rows of a report as one table: a row for each thing that is counted, so that frames can be pivoted.

| report | columns |
|---|---|
| trend | start, label, events, users, events_per_user, sum and average where asked for, incomplete |
| retention | start, label, users, period (from 0), returned, complete: a row per cohort and period |
| funnel with groups | group, is_rest, step, count: a row per group and step |
| overlap | segments (their numbers), only, all |
| diff | start, end, entered, left, stayed: one row |
| distribution | low, high, count: the bins |
| rfm | recency, frequency, money, count |
| flow | path, count, ended, other |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from cdp.v1 import query_pb2, report_pb2

from cdp_router.contract.values import from_timestamp, from_value


def report_frame(response: query_pb2.QueryResponse) -> pa.Table | None:
    """The table of a report; None where the answer has none, or a funnel no groups."""
    number, instant, text = pa.uint64(), pa.timestamp("ms", "UTC"), pa.string()
    match response.WhichOneof("report"):
        case "trend":
            return _trend(response.trend.rows)
        case "retention":
            fields = {"start": instant, "label": text, "users": number, "period": number, "returned": number}
            return _table(_retention(response.retention.rows), {**fields, "complete": pa.bool_()})
        case "funnel_report" if response.funnel_report.groups:
            return _groups(response)
        case "overlap":
            overlaps = ((list(row.segments), row.only, row.all) for row in response.overlap.rows)
            return _table(overlaps, {"segments": pa.list_(pa.uint32()), "only": number, "all": number})
        case "diff":
            diff = response.diff
            instants = from_timestamp(diff.start), from_timestamp(diff.end)
            fields = {"start": instant, "end": instant, "entered": number, "left": number, "stayed": number}
            return _table([(*instants, diff.entered, diff.left, diff.stayed)], fields)
        case "distribution":
            bins = ((each.low, each.high, each.count) for each in response.distribution.histogram)
            return _table(bins, {"low": pa.float64(), "high": pa.float64(), "count": number})
        case "rfm":
            cells = ((each.recency, each.frequency, each.money, each.count) for each in response.rfm.cells)
            scores = dict.fromkeys(("recency", "frequency", "money"), pa.uint32())
            return _table(cells, {**scores, "count": number})
        case "flow":
            nodes = ((list(each.path), each.count, each.ended, each.other) for each in response.flow.nodes)
            return _table(nodes, {"path": pa.list_(text), "count": number, "ended": number, "other": number})
    return None


def value_array(values: Iterable[Any]) -> pa.Array:
    """Values of one type as such an array, of several as strings."""
    given = list(values)
    kinds = {type(value) for value in given if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        return pa.array([None if value is None else str(value) for value in given])
    return pa.array(given, from_pandas=False)


def _table(rows: Iterable[tuple[Any, ...]], fields: dict[str, pa.DataType]) -> pa.Table:
    given = list(rows)
    columns = zip(*given, strict=True) if given else [()] * len(fields)
    arrays = {name: pa.array(column, kind) for (name, kind), column in zip(fields.items(), columns, strict=True)}
    return pa.table(arrays)


def _trend(rows: Iterable[report_pb2.TrendRow]) -> pa.Table:
    given = list(rows)
    fields = {"start": pa.timestamp("ms", "UTC"), "label": pa.string(), "events": pa.uint64(), "users": pa.uint64()}
    table = _table(
        (
            (from_timestamp(row.start), row.label, row.events, row.users, row.events_per_user, row.incomplete)
            for row in given
        ),
        {**fields, "events_per_user": pa.float64(), "incomplete": pa.bool_()},
    )
    for place, name in enumerate(("sum", "average"), len(fields) + 1):
        if any(row.HasField(name) for row in given):  # type: ignore[arg-type]
            table = table.add_column(place, name, value_array(from_value(getattr(row, name)) for row in given))
    return table


def _retention(rows: Iterable[report_pb2.RetentionRow]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        for period, returned in enumerate(row.returned):
            is_complete = period < row.complete_periods
            yield from_timestamp(row.start), row.label, row.users, period, returned, is_complete


def _groups(response: query_pb2.QueryResponse) -> pa.Table:
    report, labels = response.funnel_report, [step.label for step in response.funnel]
    groups = [(group, False) for group in report.groups]
    if report.HasField("rest"):
        groups.append((report.rest, True))
    rows = [
        (from_value(group.value), is_rest, label, count)
        for group, is_rest in groups
        for label, count in zip(labels, group.steps, strict=False)
    ]
    values = value_array(row[0] for row in rows)
    fields = {"is_rest": pa.bool_(), "step": pa.string(), "count": pa.uint64()}
    return _table((row[1:] for row in rows), fields).add_column(0, "group", values)
