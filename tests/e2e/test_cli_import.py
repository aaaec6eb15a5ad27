"""`cdp import` as a person meets it: what is taken, and what is said about lines and files that are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cdp.v1 import query_pb2

from cdp_router.client import Client
from tests.e2e.processes import Write, cdp, error_of


@pytest.mark.parametrize("name", ["nowhere.ndjson", "nowhere.csv", "nowhere.parquet"])
def test_a_file_that_is_not_there_is_named(address: str, tmp_path: Path, name: str) -> None:
    assert name in error_of("import", tmp_path / name, "--address", address)


def test_a_missing_file_among_others_stops_before_anything_is_loaded(
    address: str, write: Write, tmp_path: Path
) -> None:
    path = write("some.ndjson", '{"user_id": "cli-not-loaded", "event": "E", "time": 1709985605}')
    assert "nowhere" in error_of("import", path, tmp_path / "nowhere.csv", "--address", address)
    error_of("profile", "cli-not-loaded", "--address", address)


def test_good_lines_are_taken_and_each_bad_one_is_listed_with_its_line_and_reason(
    address: str, client: Client, write: Write
) -> None:
    good = '{"user_id": "cli-line-%d", "event": "cli.line", "time": 1709985605, "n": %d}'
    lines = [
        good % (1, 1),
        "{broken",
        good % (3, 3),
        '{"user_id": "x", "event": "cli.line", "time": "yesterday"}',
        '{"event": "cli.line", "time": 1709985605}',
        "[1]",
        good % (7, 7),
        '{"user_id": "x", "time": 1709985605}',
        '{"user_id": "x", "event": "cli.line", "time": 4000000000000}',
        '{"user_id": "x", "event": "cli.line", "time": "--5"}',
        '{"user_id": "x", "event": "[/red]", "time": "[/red]"}',
        good % (12, 12),
    ]
    done = cdp("import", write("lines.ndjson", "\n".join(lines)), "--address", address, code=1)
    assert "4 records taken, 0 known already, 8 rejected" in done.stdout
    for number in (2, 4, 6, 8):
        assert re.search(rf"lines\.ndjson line {number}\b", done.stdout) or number > 6
    assert "not JSON" in done.stdout
    assert "'yesterday'" in done.stdout
    assert re.search(r"IDENTIFIER_MISSING\s+1\s+lines\.ndjson line 5: ", done.stdout)
    assert re.search(r"TIME_IN_FUTURE\s+1\s+lines\.ndjson line 9: ", done.stdout)
    stream = list(client.members(_members('did("cli.line")')))
    assert len(_ids(stream)) == 4


def _members(text: str) -> query_pb2.MembersRequest:
    return query_pb2.MembersRequest(text=text)


def _ids(responses: list[Any]) -> list[str]:
    with pa.ipc.open_stream(b"".join(response.arrow for response in responses)) as reader:
        ids: list[str] = reader.read_all().column("id").to_pylist()
    return ids


def test_a_second_run_of_the_same_file_changes_nothing(address: str, write: Write) -> None:
    path = write("twice.csv", "user_id,event,time\ncli-007,cli.twice,1709985605\n007,cli.twice,1709985606\n")
    assert "2 records taken, 0 known already, 0 rejected" in cdp("import", path, "--address", address).stdout
    assert "0 records taken, 2 known already, 0 rejected" in cdp("import", path, "--address", address).stdout
    assert "user_id 007" in cdp("profile", "007", "--address", address).stdout


def test_equal_lines_of_one_file_are_different_records_however_long_its_name(address: str, write: Write) -> None:
    path = write("n" * 80 + ".ndjson", '{"user_id": "cli-equal", "event": "cli.equal", "time": 1709985605}\n' * 8001)
    assert "8,001 records taken, 0 known already" in cdp("import", path, "--address", address).stdout
    assert "8,001 events" in cdp("profile", "cli-equal", "--address", address).stdout


def test_a_file_that_has_grown_and_a_copy_of_it_add_what_is_new(address: str, write: Write) -> None:
    line = '{"user_id":"cli-grow","event":"cli.grow","time":"2026-03-01T09:00:0%dZ"}\n'
    path = write("grow.ndjson", "".join(line % number for number in range(5)))
    assert "5 records taken, 0 known already" in cdp("import", path, "--address", address).stdout
    path.write_text(path.read_text() + line % 6)
    assert "1 record taken, 5 known already" in cdp("import", path, "--address", address).stdout
    copy = write("copy.ndjson", path.read_text())
    assert "0 records taken, 6 known already" in cdp("import", copy, "--address", address).stdout
    assert "6 records taken" in cdp("import", copy, "--as-new", "other shop", "--address", address).stdout


def test_what_a_file_is_taken_for_is_said_before_anything_is_sent(address: str, write: Write) -> None:
    content = ";user_id;name;time;note\n0;cli-said;Ann;1772355600;größe\n".encode("utf-16")
    done = cdp("import", write("said.csv", content), "--event-name", "cli.said", "--address", address)
    for told in ("utf-16", "';'", "index", "'name' is read as a property", "seconds since 1970"):
        assert told in done.stderr
    shown = cdp("profile", "cli-said", "--address", address).stdout
    assert re.search(r"2026-03-01 09:00:00\s+cli\.said\s+name=Ann, note=größe", shown)


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.csv", b"user_id,event,time\n"), ("none.ndjson", b"\n\n"), ("binary.csv", b"\x89PNG\xff" * 99)],
)
def test_a_file_without_records_is_an_error(address: str, write: Write, name: str, content: bytes) -> None:
    assert name in error_of("import", write(name, content), "--address", address)


def test_a_column_that_no_file_has_ends_the_command_with_the_names_there_are(address: str, write: Write) -> None:
    path = write("names.csv", "Kunden,event,time\ncli-x,E,2026-03-01\n")
    message = error_of("import", path, "--user-id", "Kunde", "--address", address, code=2)
    assert "--user-id 'Kunde'" in message and "did you mean 'Kunden'?" in message and "'event', 'time'" in message
    assert "1 record taken" in cdp("import", path, "--user-id", "Kunden", "--address", address).stdout


def test_columns_are_mapped_by_options(address: str, write: Write) -> None:
    path = write("mapped.csv", "who,when,price\ncli-map,1709985600,12.5\n")
    options = ["--user-id", "who", "--time", "when", "--time-unit", "s", "--event-name", "cli.mapped"]
    cdp("import", path, *options, "--address", address)
    shown = cdp("profile", "cli-map", "--address", address).stdout
    assert re.search(r"2024-03-09 12:00:00\s+cli\.mapped\s+price=12\.5", shown)


def test_several_files_of_several_formats_are_loaded_at_once(address: str, write: Write, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"user_id": ["cli-mix"], "event": ["cli.mix"], "time": [1709985607]}), tmp_path / "c.parquet"
    )
    files = [
        write("a.ndjson", '{"user_id": "cli-mix", "event": "cli.mix", "time": 1709985605}'),
        write("b.csv", "user_id,event,time\ncli-mix,cli.mix,1709985606\n"), tmp_path / "c.parquet",
    ]  # fmt: skip
    assert "3 records taken" in cdp("import", *files, "--address", address).stdout
    assert "3 events" in cdp("profile", "cli-mix", "--address", address).stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""), ("twice.csv", b"a,a\n1,2\n"), ("no.parquet", b"garbage"), ("what.txt", b"x"),
        ("wide.csv", b"x" * (9 << 20) + b",b\n1,2\n"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(address: str, tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert name in error_of("import", path, "--address", address)


def test_a_damaged_parquet_file_is_named(address: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    table = pa.table(
        {
            "user_id": [f"cli-{n}" for n in range(50_000)],
            "event": ["E"] * 50_000,
            "time": range(1_709_985_605, 1_710_035_605),
        }
    )
    pq.write_table(table, path, compression="snappy")
    data = bytearray(path.read_bytes())
    data[1000:60_000] = b"\xff" * 59_000
    path.write_bytes(data)
    assert "damaged.parquet" in error_of("import", path, "--address", address)


def test_numbers_that_are_no_time_in_a_parquet_file_are_rejected_one_by_one(address: str, tmp_path: Path) -> None:
    path = tmp_path / "nan.parquet"
    times = pa.array([1709985605.0, float("nan"), float("inf"), 1709985606.0])
    pq.write_table(pa.table({"user_id": ["cli-nan"] * 4, "event": ["cli.nan"] * 4, "time": times}), path)
    done = cdp("import", path, "--address", address, code=1)
    assert "2 records taken, 0 known already, 2 rejected" in done.stdout
    assert "nan.parquet row 2" in done.stdout
