"""Times in files: the same rule in every format, told by size where they are numbers, refused where nothing tells."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdp_router.cli.data.import_notes import notes
from cdp_router.cli.data.row_mapping import AUTO, ColumnMapping
from cdp_router.cli.data.sources import open_source
from tests.router.imported_files import Imported, Record, imported

MARCH_MS = 1_772_323_200_000  # 2026-03-01
NINE_MS = MARCH_MS + 9 * 3_600_000
FORMATS = ("csv", "ndjson", "parquet", "rows")


def _written(folder: Path, kind: str, times: list[Any], **columns: list[Any]) -> Path:
    """The same records as a file of a format; "rows": Parquet that has to go by rows."""
    rows = [
        {
            "user_id": f"u{number}",
            "event": "Buy",
            "time": time,
            **{name: values[number] for name, values in columns.items()},
        }
        for number, time in enumerate(times)
    ]
    path = folder / f"f.{'parquet' if kind == 'rows' else kind}"
    match kind:
        case "csv":
            lines = [
                ",".join(rows[0]),
                *(",".join("" if each is None else str(each) for each in row.values()) for row in rows),
            ]
            path.write_text("\n".join(lines))
        case "ndjson":
            path.write_text("\n".join(map(json.dumps, rows)))
        case _:
            table = pa.Table.from_pylist(rows)
            pq.write_table(table.append_column("o", [[{"x": 1}] * len(rows)]) if kind == "rows" else table, path)
    return path


def _times(folder: Path, kind: str, times: list[Any], **options: Any) -> tuple[list[int], Imported]:
    records, outcome = imported(_written(folder, kind, times), **options)
    return [record.time_ms for record in records], outcome


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "times",
    [[1772355600, 1772323200], [1772355600000, 1772323200000], [1772355600000000, 1772323200000000],
     [1772355600000000000, 1772323200000000000], ["1772355600", "20260301"], ["2026-03-01T09:00:00Z", "2026-03-01"],
     [1772355600.0, 20260301.0], ["2026-03-01T09:00:00.000999Z", "20260301T000000Z"], ["1772355600.0", "1.7723232e9"]],
    ids=lambda times: str(times[0]),
)  # fmt: skip
def test_a_time_is_the_same_in_every_format_and_unit(tmp_path: Path, kind: str, times: list[Any]) -> None:
    found, outcome = _times(tmp_path, kind, times)
    assert (found, outcome.codes) == ([NINE_MS, MARCH_MS], {})


@pytest.mark.parametrize("kind", FORMATS)
def test_eight_digits_are_a_date_beside_counts(tmp_path: Path, kind: str) -> None:
    assert _times(tmp_path, kind, [20260301, 1772355600])[0] == [MARCH_MS, NINE_MS]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("time", [0, 5, -1, 86400, 631151999, 20261301, 202603, 2026, 99999999999])
def test_a_number_that_tells_no_time_costs_its_record_unless_its_unit_is_given(
    tmp_path: Path, kind: str, time: int
) -> None:
    found, outcome = _times(tmp_path, kind, [1772355600, time])
    assert (found, outcome.codes) == ([NINE_MS], {"TIME_INVALID": 1})
    assert "--time-unit" in outcome.said and str(time) in outcome.said
    if time < 10**10:
        assert _times(tmp_path, kind, [time], time_unit="ms")[0] == [time]


def test_what_numbers_are_taken_for_is_said_before_they_are_sent(tmp_path: Path) -> None:
    def said(times: list[Any], **mapped: Any) -> str:
        mapping = ColumnMapping(**{"time_unit": AUTO, **mapped})
        texts = {" ".join(notes(open_source(_written(tmp_path, kind, times), None), mapping)) for kind in FORMATS}
        assert len(texts) == 1
        return texts.pop()

    assert "'time' holds numbers, by their size seconds" in said([1772355600, 1772355601])
    assert "milliseconds and seconds" in said([1772355600000, 1772355601000, 1772355601])
    assert said(["2026-03-01"]) == ""
    assert said([1772355600], time_unit="s") == ""


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_what_name_is_taken_for_is_said_before_it_is_sent(tmp_path: Path, kind: str) -> None:
    def said(**mapped: Any) -> str:
        path = tmp_path / f"a.{kind}"
        row = {"user_id": "u", "name": "Ann", "time": "2026-03-01"}
        path.write_text("user_id,name,time\nu,Ann,2026-03-01\n" if kind == "csv" else json.dumps(row))
        return " ".join(notes(open_source(path, None), ColumnMapping(**mapped)))

    assert "'name' is read as an attribute" in said() and "--event name" in said()
    assert "'name' is read as a property" in said(event_name="Buy")
    assert said(event="name") == ""


@pytest.mark.parametrize("kind", FORMATS)
def test_values_that_are_declared_times_are_times(tmp_path: Path, kind: str) -> None:
    path = _written(tmp_path, kind, ["2026-03-01"], signup=["2017-06-01"], seen=[1772355600], day=["20260301"])
    [record], _ = imported(path)
    assert (record.values["signup"], record.values["seen"]) == ("2017-06-01", 1772355600)
    [record], outcome = imported(path, times=("signup", "seen", "day", "absent"))
    assert outcome.codes == {}
    assert [record.values[name] for name in ("signup", "seen", "day")] == [
        datetime(2017, 6, 1, tzinfo=UTC), datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC),
    ]  # fmt: skip


def test_declared_times_inside_of_maps_and_lists_and_those_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"

    def one(attributes: dict[str, Any]) -> tuple[list[Record], Imported]:
        path.write_text(json.dumps({"user_id": "u", "time": "2026-03-01", "attributes": attributes}))
        return imported(path, times=("o.at", "l", "a.b"))

    day = datetime(2026, 3, 1, tzinfo=UTC)
    [record], _ = one({"o": {"at": "2026-03-01"}, "l": ["2026-03-01", None], "a.b": 20260301})
    assert record.values == {"o": None, "o.at": day, "l": [day, None], "a.b": day}
    [record], _ = one({"o": {"at": None}, "l": None})
    assert record.values == {"o": None, "o.at": None, "l": None}
    _, outcome = one({"o": {"at": "soon"}})
    assert list(outcome.codes.values()) == [1] and "'o.at'" in outcome.said and "soon" in outcome.said
