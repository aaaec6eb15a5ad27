"""Names of columns in the options of `cdp import`: one that no file has ends the command before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cdp_router.cli.app import app

_UNREACHED = "no cluster answers at 127.0.0.1:1"
_CSV = "user_id,event,time,email,born,zip\nu,E,2026-03-01,a@x.org,1990-01-01,00501\n"
_LINE = '{"user_id": "u", "event": "E", "time": 1, "email": "x", "order": {"price": 1}, "properties": {"born": "1"}}\n'


def _said(path: Path, *options: str, code: int) -> str:
    done = CliRunner().invoke(app, ["import", str(path), *options, "--address", "127.0.0.1:1"])
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    return done.stderr


def _parquet(path: Path) -> Path:
    row: dict[str, Any] = {"user_id": "u", "event": "E", "email": "x", "order": {"price": 1}, "properties": None}
    kind = pa.struct([("price", pa.int64())])
    fields = [("user_id", pa.string()), ("event", pa.string()), ("email", pa.string()), ("order", kind)]
    fields += [("properties", pa.map_(pa.string(), pa.string()))]
    pq.write_table(pa.Table.from_pylist([row], schema=pa.schema(fields)), path)
    return path


@pytest.mark.parametrize("option", ["--skip", "--times", "--as-text"])
def test_a_misspelt_column_ends_the_command_with_the_columns_there_are(tmp_path: Path, option: str) -> None:
    (path := tmp_path / "f.csv").write_text(_CSV)
    said = _said(path, option, "zip,emial", code=2)
    assert said == (
        f"error: {option} 'emial': there is no such column; did you mean 'email'? "
        "The columns are 'user_id', 'event', 'time', 'email', 'born', 'zip'\n"
    )


def test_a_name_like_no_other_is_a_sentence_too(tmp_path: Path) -> None:
    (path := tmp_path / "f.csv").write_text("user_id,event,time\nu,E,2026-03-01\n")
    columns = "The columns are 'user_id', 'event', 'time'\n"
    assert _said(path, "--skip", "xyzzy", code=2) == f"error: --skip 'xyzzy': there is no such column. {columns}"
    assert _said(path, "--user-id", "xyzzy", code=2) == f"error: --user-id 'xyzzy': there is no such column. {columns}"


@pytest.mark.parametrize(
    ("option", "given"),
    [("--skip", "email"), ("--skip", "order.price"), ("--times", "born"), ("--as-text", "born"),
     ("--as-text", "properties.born"), ("--as-text", "order.price")],
)  # fmt: skip
def test_columns_and_paths_inside_of_them_are_known_in_ndjson(tmp_path: Path, option: str, given: str) -> None:
    (path := tmp_path / "f.ndjson").write_text(_LINE)
    assert _UNREACHED in _said(path, option, given, code=1)


@pytest.mark.parametrize(("option", "given"), [("--skip", "order.prize"), ("--skip", "born"), ("--times", "brn")])
def test_a_misspelt_path_is_refused_in_ndjson(tmp_path: Path, option: str, given: str) -> None:
    (path := tmp_path / "f.ndjson").write_text(_LINE)
    assert f"{option} {given!r}: there is no such column" in _said(path, option, given, code=2)


def test_a_rare_name_of_a_long_file_of_json_is_only_noted(tmp_path: Path) -> None:
    rare = '{"user_id": "u", "event": "E", "time": 1, "rare": 1}\n'
    (path := tmp_path / "f.ndjson").write_text(_LINE * 1000 + rare)
    said = _said(path, "--skip", "rare", code=1)
    assert said.startswith("note: --skip 'rare': there is no such column in the first 1,000 records of f.ndjson\n")
    assert _UNREACHED in said


@pytest.mark.parametrize(
    ("option", "given"),
    [("--skip", "email"), ("--skip", "order.price"), ("--times", "born"), ("--as-text", "properties.born")],
)
def test_columns_and_paths_inside_of_them_are_known_in_parquet(tmp_path: Path, option: str, given: str) -> None:
    assert _UNREACHED in _said(_parquet(tmp_path / "f.parquet"), option, given, code=1)


@pytest.mark.parametrize(("option", "given"), [("--skip", "order.prize"), ("--skip", "emial"), ("--skip", "born")])
def test_a_misspelt_path_is_refused_in_parquet(tmp_path: Path, option: str, given: str) -> None:
    assert f"{option} {given!r}: there is no such column" in _said(
        _parquet(tmp_path / "f.parquet"), option, given, code=2
    )


def test_a_column_of_one_file_is_enough(tmp_path: Path) -> None:
    (first := tmp_path / "f.csv").write_text(_CSV)
    (tmp_path / "g.csv").write_text("user_id,event,time,phone\nu,E,2026-03-01,1\n")
    assert _UNREACHED in _said(first, str(tmp_path / "g.csv"), "--skip", "phone", code=1)
