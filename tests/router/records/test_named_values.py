"""Named values in Arrow columns: what they say, and what is wrong with them, record by record."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from cdp_router.contract.arrow_streams import VALUE
from cdp_router.errors import RequestInvalid
from cdp_router.records.columnarise import columnarise
from cdp_store.limits import STRING_BYTES_MAX
from cdp_store.values import Kind
from tests.router.encodings import arrow_batch
from tests.router.local_cluster import NOW_MS


def batch_of(records: list[tuple[str | None, list[dict[str, Any]] | None]], kind: pa.DataType = VALUE) -> pa.Table:
    events, values = zip(*records, strict=True)
    return pa.table(
        {
            "user_id": [f"u{number}" for number in range(len(records))],
            "time": pa.array([NOW_MS] * len(records), pa.timestamp("ms", "UTC")),
            "event": pa.array(events, pa.string()),
            "values": pa.array(values, pa.list_(kind)),
        }
    )


def test_each_value_has_its_name_and_type() -> None:
    said: list[tuple[str | None, list[dict[str, Any]] | None]] = [
        ("View", [{"name": "n", "integer": 1}, {"name": "t", "text": "x"}, {"name": "gone"}]),
        (None, [{"name": "n", "number": 1.5}, {"name": "gone"}, {"name": "l", "list": '["a",1]'}]),
        ("View", None),
        (None, []),
        ("View", [{"name": "n", "boolean": False}, {"name": "l", "list": "[]"}]),
    ]
    found = columnarise(arrow_batch(batch_of(said)), NOW_MS)
    assert not found.errors
    batch = found.batch
    kinds = [
        sorted(
            (batch.keys[batch.triple_keys[at]], Kind(batch.triple_kinds[at]).name)
            for at in range(batch.property_offsets[record], batch.property_offsets[record + 1])
        )
        for record in range(len(batch))
    ]
    assert kinds == [
        [("n", "INT"), ("t", "STRING")],  # an event has no property that is removed
        [("gone", "UNSET"), ("l", "LIST"), ("n", "FLOAT")],
        [],
        [],
        [("l", "LIST"), ("n", "BOOL")],
    ]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([{"name": "n", "integer": 1}, {"name": "n", "integer": 2}], "PROPERTY_NAME_INVALID"),
        ([{"name": "n", "integer": 1}, {"name": "n", "text": "x"}], "PROPERTY_NAME_INVALID"),
        ([{"name": "n", "integer": 1, "text": "x"}], "PROPERTY_NAME_INVALID"),
        ([{"name": "", "integer": 1}], "PROPERTY_NAME_INVALID"),
        ([{"name": "x" * 121, "integer": 1}], "PROPERTY_NAME_INVALID"),
        ([{"name": "l", "list": "{}"}], "VALUE_UNUSABLE"),
        ([{"name": "l", "list": "[1"}], "VALUE_UNUSABLE"),
        ([{"name": "n", "number": float("nan")}], "NUMBER_NOT_FINITE"),
        ([{"name": "t", "text": "x" * (STRING_BYTES_MAX + 1)}], "STRING_TOO_LONG"),
    ],
)
def test_what_is_wrong_costs_its_record_alone(values: list[dict[str, Any]], code: str) -> None:
    good = [{"name": "n", "integer": 7}]
    found = columnarise(arrow_batch(batch_of([("View", good), ("View", values), (None, good)])), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(1, code)]
    assert found.positions.tolist() == [0, 2]
    assert found.batch.triple_raws.tolist() == [7, 7]


def test_values_without_a_name_are_refused() -> None:
    with pytest.raises(RequestInvalid, match="without a name"):
        columnarise(arrow_batch(batch_of([("View", [{"name": None, "integer": 1}])])), NOW_MS)


def test_another_type_of_that_name_is_a_property_like_others() -> None:
    table = batch_of([("View", None)]).drop_columns(["values"]).append_column("values", pa.array([["a", "b"]]))
    found = columnarise(arrow_batch(table), NOW_MS)
    assert (found.batch.keys, found.batch.triple_kinds.tolist()) == (("values",), [Kind.LIST])
