"""The rows of a report as one table: a row for each thing that is counted, so that frames can be pivoted.

The columns are the fields of the rows, instants first, and a value only where any row has it. Elsewhere:

| report | columns |
|---|---|
| retention | start, label, users, period (from 0), returned, complete: a row per cohort and period |
| funnel with groups | group, is_rest, step, count: a row per group and step |
| diff | one row |
| distribution | low, high, count: the bins |
| rfm | recency, frequency, money, count: the cells |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from cdp.v1 import query_pb2, report_pb2
from google.protobuf.descriptor import FieldDescriptor

from cdp_router.contract.report_rows import is_instant, is_value, report_rows
from cdp_router.contract.values import from_timestamp, from_value

_INSTANT: Final = pa.timestamp("ms", "UTC")
_TYPES: Final = {
    FieldDescriptor.TYPE_UINT64: pa.uint64(),
    FieldDescriptor.TYPE_UINT32: pa.uint32(),
    FieldDescriptor.TYPE_DOUBLE: pa.float64(),
    FieldDescriptor.TYPE_STRING: pa.string(),
    FieldDescriptor.TYPE_BOOL: pa.bool_(),
}


def report_frame(response: query_pb2.QueryResponse) -> pa.Table | None:
    """The table of a report; None if the answer has no report, or a funnel no groups."""
    match form := response.WhichOneof("report"):
        case None:
            return None
        case "retention":
            number = pa.uint64()
            fields = {"start": _INSTANT, "label": pa.string(), "users": number, "period": number, "returned": number}
            return _table(_retention(response.retention.rows), {**fields, "complete": pa.bool_()})
        case "funnel_report":
            return _groups(response) if response.funnel_report.groups else None
    rows, columns = report_rows(getattr(response, form))
    arrays = {field.name: _column(field, rows) for field in sorted(columns, key=is_instant, reverse=True)}
    return pa.table({name: array for name, array in arrays.items() if array is not None})


def _column(field: FieldDescriptor, rows: Sequence[Any]) -> pa.Array | None:
    """The values of a field; None if no row has one."""
    values = [getattr(row, field.name) for row in rows]
    if is_instant(field):
        return pa.array(map(from_timestamp, values), _INSTANT)
    if is_value(field):
        return value_array(map(from_value, values)) if any(row.HasField(field.name) for row in rows) else None
    kind = _TYPES[field.type]
    return pa.array(map(list, values), pa.list_(kind)) if field.is_repeated else pa.array(values, kind)


def value_array(values: Iterable[Any]) -> pa.Array:
    """Array of values: of their type if they have one type, otherwise of strings."""
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
