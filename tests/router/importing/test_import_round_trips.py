"""Random tables written by pandas, Polars and DuckDB: what is stored equals what they hold, or is refused aloud."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.router.imported_files import Record, imported

AT = "2026-03-01T09:00:00Z"
_TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
_MOMENTS = st.datetimes(datetime(1678, 1, 1), datetime(2200, 1, 1))
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


@dataclass(frozen=True, slots=True)
class _Type:
    """A type of columns: as Arrow has it, and its values."""

    arrow: pa.DataType
    values: st.SearchStrategy[Any]


def _decimals(precision: int, scale: int) -> _Type:
    digits = st.integers(-(10**precision) + 1, 10**precision - 1)
    return _Type(pa.decimal128(precision, scale), digits.map(lambda each: Decimal(f"{each}E-{scale}")))


_SCALARS = {
    "int": _Type(pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "uint": _Type(pa.uint64(), st.integers(0, (1 << 64) - 1)),
    "small": _Type(pa.int8(), st.integers(-128, 127)),
    "float": _Type(pa.float64(), _NUMBERS),
    "bool": _Type(pa.bool_(), st.booleans()),
    "text": _Type(pa.string(), _TEXTS),
    "date": _Type(pa.date32(), st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "moment": _Type(pa.timestamp("us"), _MOMENTS),
    "zoned": _Type(pa.timestamp("us", "UTC"), _MOMENTS.map(lambda each: each.replace(tzinfo=UTC))),
    "time": _Type(pa.time64("us"), st.times()),
    "bytes": _Type(pa.binary(), st.binary(max_size=4)),
    "price": _decimals(10, 2),
    "exact": _decimals(38, 18),
    "whole": _decimals(38, 0),
    "length": _Type(pa.duration("us"), st.timedeltas(timedelta(days=-9999), timedelta(days=9999))),
}


@st.composite
def _types(draw: st.DrawFn) -> tuple[str, _Type]:
    name = draw(st.sampled_from(sorted(_SCALARS)))
    inner = _SCALARS[name]
    match draw(st.sampled_from(("scalar", "scalar", "list", "struct", "structs"))):
        case "list":
            return "list", _Type(pa.list_(inner.arrow), st.lists(st.none() | inner.values, max_size=3))
        case "struct":
            kind = pa.struct([("x", inner.arrow), ("y", pa.string())])
            return "struct", _Type(
                kind, st.fixed_dictionaries({"x": st.none() | inner.values, "y": st.none() | _TEXTS})
            )
        case "structs":
            kind = pa.list_(pa.struct([("x", inner.arrow)]))
            return "structs", _Type(kind, st.lists(st.fixed_dictionaries({"x": inner.values}), max_size=2))
    return name, inner


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of records with up to three columns of values."""
    rows = draw(st.integers(1, 4))
    columns = {"user_id": pa.array([f"u{number}" for number in range(rows)]), "event": pa.array(["Buy"] * rows),
               "time": pa.array([AT] * rows)}  # fmt: skip
    for number in range(draw(st.integers(1, 3))):
        name, kind = draw(_types())
        values = draw(st.lists(st.none() | kind.values, min_size=rows, max_size=rows))
        columns[f"{name}_{number}"] = pa.array(values, kind.arrow)
    return pa.table(columns)


# -------------------------------------------------------------------------------------------------------------- writers


def _duckdb(table: pa.Table, path: Path, options: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", table)
        connection.execute(f"COPY given TO '{path}' ({options})")


_WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "pandas-parquet": lambda table, path: table.to_pandas(types_mapper=pd.ArrowDtype).to_parquet(path),
    "pandas-csv": lambda table, path: table.to_pandas(types_mapper=pd.ArrowDtype).to_csv(path),
    "pandas-ndjson": lambda table, path: table.to_pandas().to_json(
        path, orient="records", lines=True, date_format="iso"
    ),
    "polars-parquet": lambda table, path: pl.DataFrame(table).write_parquet(path),
    "polars-csv": lambda table, path: pl.DataFrame(table).write_csv(path),
    "polars-ndjson": lambda table, path: pl.DataFrame(table).write_ndjson(path),
    "duckdb-parquet": lambda table, path: _duckdb(table, path, "FORMAT parquet"),
    "duckdb-csv": lambda table, path: _duckdb(table, path, "FORMAT csv, HEADER"),
    "duckdb-ndjson": lambda table, path: _duckdb(table, path, "FORMAT json"),
}


# -------------------------------------------------------------------------------------------------------------- oracles


def _flattened(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _same(stored: Any, given: Any) -> bool:
    """Whether a stored value is what a table or a text of JSON says, by rules of its own."""
    match given:
        case None | bool() | str():
            return stored is given or (type(stored) is type(given) and stored == given)
        case int():
            return type(stored) is int and stored == given
        case float():
            return type(stored) is float and (stored == given or math.isnan(given))
        case Decimal():
            return not isinstance(stored, bool | str) and Decimal(repr(stored)) == given
        case datetime():
            aware = given if given.tzinfo else given.replace(tzinfo=UTC)
            return isinstance(stored, datetime) and stored in (aware, _floor(aware))  # in lists to the microsecond
        case date():
            return stored == datetime(given.year, given.month, given.day, tzinfo=UTC)
        case time():
            return isinstance(stored, str) and time.fromisoformat(stored) == given
        case timedelta():
            return isinstance(stored, str) and _length(stored) == given
        case list():
            return len(stored) == len(given) and all(map(_same, stored, given))
        case dict():
            kept = {name: value for name, value in given.items() if value is not None}
            return _same_items({name: value for name, value in stored.items() if value is not None}, kept)
    return False


def _same_items(stored: dict[str, Any], given: dict[str, Any]) -> bool:
    return stored.keys() == given.keys() and all(_same(stored[name], given[name]) for name in given)


def _floor(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(-?)PT([0-9]+)(?:\.([0-9]+))?S", text)
    assert found is not None
    length = timedelta(seconds=int(found[2]), microseconds=int((found[3] or "0").ljust(6, "0")))
    return -length if found[1] else length


def _same_text(stored: Any, text: str) -> bool:
    """Whether a stored value is what a field of CSV says; a number of up to 17 digits is the nearest float.

    More digits are a float that is equal, however short it may be written.
    """
    match stored:
        case None:
            return text == ""
        case bool():
            return text in (("true", "True", "TRUE") if stored else ("false", "False", "FALSE"))
        case str():
            return stored == text
        case int():
            return Decimal(text) == stored
        case float():
            digits = len("".join(map(str, Decimal(text).as_tuple().digits)).strip("0"))
            return float(text) == stored and (Decimal(text) in (Decimal(repr(stored)), Decimal(stored)) or digits <= 17)
    return False


def _check(records: list[Record], refused: int, rows: list[dict[str, Any]], same: Callable[..., bool]) -> None:
    """Every row is stored as it is, or among the refused."""
    by_user = {record.user: record for record in records}
    assert len(by_user) + refused == len(rows)
    for row in rows:
        record = by_user.get(row["user_id"])
        if record is None:
            continue
        given = {name: value for name, value in row.items() if name not in ("user_id", "event", "time")}
        assert record.event == "Buy"
        for name, value in given.items():
            assert same(record.values.pop(name, None), value), (name, value)
        assert record.values == {}


def _check_file(path: Path, table: pa.Table) -> None:
    records, outcome = imported(path)
    refused = sum(outcome.codes.values())
    match path.suffix:
        case ".parquet":
            rows = [dict(_flattened(row)) for row in table.to_pylist()]
            _check(records, refused, rows, _same)
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                texts = [{name: value for name, value in row.items() if name} for row in csv.DictReader(file)]
            _check(records, refused, texts, _same_text)
        case _:
            lines = path.read_bytes().decode().split("\n")
            objects = [json.loads(line, parse_float=Decimal) for line in lines if line]
            _check(records, refused, [dict(_flattened(row)) for row in objects], _same_json)


def _same_json(stored: Any, given: Any) -> bool:
    """As `_same`, where a number of up to 17 digits is the nearest float."""
    match given:
        case Decimal():
            return _same_text(stored, str(given))
        case list():
            return len(stored) == len(given) and all(map(_same_json, stored, given))
        case dict():
            return stored.keys() == given.keys() and all(_same_json(stored[name], given[name]) for name in given)
    return _same(stored, given)


def _writable(writer: str, table: pa.Table, path: Path) -> bool:
    """Write the table; False where the library does not write its types in this format."""
    try:
        _WRITERS[writer](table, path)
    except (pa.ArrowException, pl.exceptions.PolarsError, duckdb.Error, ValueError, TypeError, OverflowError,
            NotImplementedError, pl.exceptions.PanicException):  # fmt: skip
        return False
    return True


def _round_trip(folder: Path, writer: str, table: pa.Table) -> bool:
    library, _, kind = writer.partition("-")
    path = folder / f"{library}.{kind}"
    if not _writable(writer, table, path):
        return False
    _check_file(path, table)
    return True


@pytest.mark.parametrize("writer", _WRITERS)
@given(table=tables())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_tables_are_stored_as_they_are_or_refused(
    tmp_path_factory: pytest.TempPathFactory, writer: str, table: pa.Table
) -> None:
    _round_trip(tmp_path_factory.getbasetemp(), writer, table)


@pytest.mark.long
@pytest.mark.parametrize("writer", _WRITERS)
@given(table=tables())
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_many_tables_are_stored_as_they_are_or_refused(
    tmp_path_factory: pytest.TempPathFactory, writer: str, table: pa.Table
) -> None:
    _round_trip(tmp_path_factory.getbasetemp(), writer, table)


@pytest.mark.parametrize("writer", _WRITERS)
def test_every_library_writes_what_these_tests_read(tmp_path: Path, writer: str) -> None:
    """Else nothing would be tested."""
    columns = {"user_id": ["a", "b"], "event": ["Buy"] * 2, "time": [AT] * 2, "n": [1, None], "t": ["x", None]}
    assert _round_trip(tmp_path, writer, pa.table(columns))
