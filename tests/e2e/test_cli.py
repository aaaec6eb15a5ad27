"""The command line as a person meets it: answers, and one clear message for every mistake."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cdp.v1 import query_pb2

from cdp_router.client import Client
from tests.e2e.processes import ENVIRONMENT, cdp

PAST = "2024-03-10T12:00:00Z"
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


@pytest.fixture(scope="module")
def people(address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four people in the shared cluster, loaded with `cdp import`; the address."""
    folder = tmp_path_factory.mktemp("people")
    events = [
        {"user_id": f"cli-{who}", "event": "cli.seen", "time": f"2024-03-0{day}T23:30:00Z", "properties": {"n": day}}
        for who, day in (("ann", 1), ("ann", 2), ("ann", 3), ("bob", 1), ("cy", 3))
    ]
    attributes = [
        {
            "user_id": "cli-ann",
            "time": "2024-03-01",
            "attributes": {"cli_plan": "gold", "cli_note": "[/red] 100% [bold]"},
        },
        {"user_id": "cli-bob", "time": "2024-03-01", "attributes": {"cli_plan": "[/x]"}},
        {"user_id": "cli-cy", "time": "2024-03-01", "attributes": {"cli_tags": ["a", "b"]}},
        {"anonymous_id": "cli-anon", "time": "2024-03-01", "attributes": {"cli_plan": "gold"}},
    ]
    path = folder / "people.ndjson"
    path.write_text("\n".join(map(json.dumps, [*events, *attributes])))
    done = cdp("import", path, "--address", address)
    assert "9 records taken, 0 known already, 0 rejected" in done.stdout
    return address


def _error(*arguments: object, code: int = 1) -> str:
    """The one message a command that fails prints."""
    done = cdp(*arguments, code=code)
    message = done.stderr.strip()
    assert message.startswith("error: "), done
    assert message.count("error:") == 1
    return message.removeprefix("error: ")


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["query", "everyone", "--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["up", "--shards", "two"], "--shards"),
        (["up", "--port", "70000"], "--port"),
        (["profile", "x", "--events", "0"], "--events"),
        (["import"], "files"),
    ],
)
def test_an_option_or_argument_that_cannot_be_is_named(arguments: list[str], named: str) -> None:
    done = cdp(*arguments, code=2)
    assert named.lower() in done.stderr.lower()
    assert "Usage: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["import", "x.csv", "--format", "xml"], "xml"), (["import", "x.csv", "--time-unit", "h"], "'h'"),
        (["import", "x.csv", "--default-time", "soon"], "soon"), (["query", "everyone", "--as-of", "soon"], "soon"),
        (["query", "everyone", "--ids", "--by", "plan"], "--by"), (["query", "everyone", "--address", "here"], "here"),
        (["up", "--shards", "3", "--partitions", "2"], "--shards 3"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named(arguments: list[str], named: str) -> None:
    assert named in _error(*arguments, code=2)


def test_help_and_version_are_printed() -> None:
    assert re.match(r"cdp \d+\.\d+\.\d+", cdp("--version").stdout)
    overview = cdp("--help").stdout
    for command in ("up", "import", "query", "profile", "status", "warm"):
        assert command in overview
        assert "--help" in cdp(command, "--help").stdout


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "command", [["query", "everyone"], ["query", "everyone", "--ids"], ["profile", "x"], ["status"]]
)
def test_without_a_cluster_it_says_how_to_start_one(command: list[str]) -> None:
    nowhere = f"127.0.0.1:{_free_port()}"
    message = _error(*command, "--address", nowhere)
    assert nowhere in message
    assert "cdp up" in message


def test_loading_without_a_cluster_says_so_at_once(write: Write) -> None:
    path = write("a.ndjson", '{"user_id": "x", "event": "E", "time": 1709985605}')
    assert "cdp up" in _error("import", path, "--address", f"127.0.0.1:{_free_port()}")


def test_a_syntax_error_shows_the_place_and_what_was_expected(people: str) -> None:
    message = _error("query", 'did("cli.seen") and cli_plan ==', "--address", people)
    lines = message.splitlines()
    assert lines[0].startswith("line 1, column 31")
    assert lines[1].strip() == 'did("cli.seen") and cli_plan =='
    assert lines[2].index("^") - lines[1].index("did") == 30
    assert "expected" in message


def test_a_mistyped_function_suggests_the_nearest(people: str) -> None:
    assert "'count'" in _error("query", 'cuont("cli.seen") > 1', "--address", people)


@pytest.mark.parametrize("text", ['did("cli.seen", last: 1d)', "everyone"])
def test_an_unknown_time_zone_is_named(people: str, text: str) -> None:
    assert "Mars/Olympus" in _error("query", text, "--tz", "Mars/Olympus", "--address", people)


def test_an_unknown_profile_is_named(people: str) -> None:
    assert "cli-nobody" in _error("profile", "cli-nobody", "--address", people)


def test_an_unknown_name_is_a_warning_and_in_strict_mode_an_error(people: str) -> None:
    done = cdp("query", 'did("cli.sen")', "--as-of", PAST, "--address", people, code=3)
    assert done.stderr.strip() == "warning: no event named 'cli.sen' has been seen; did you mean 'cli.seen'?"
    assert "UNKNOWN_NAME" in done.stdout
    assert "cli.seen" in _error("query", 'did("cli.sen")', "--strict", "--address", people)
    assert "cli.seen" in _error("query", 'did("cli.sen")', "--strict", "--ids", "--address", people)


# --------------------------------------------------------------------------------------------------------------- ingest


@pytest.mark.parametrize("name", ["nowhere.ndjson", "nowhere.csv", "nowhere.parquet"])
def test_a_file_that_is_not_there_is_named(address: str, tmp_path: Path, name: str) -> None:
    assert name in _error("import", tmp_path / name, "--address", address)


def test_a_missing_file_among_others_stops_before_anything_is_loaded(
    address: str, write: Write, tmp_path: Path
) -> None:
    path = write("some.ndjson", '{"user_id": "cli-not-loaded", "event": "E", "time": 1709985605}')
    assert "nowhere" in _error("import", path, tmp_path / "nowhere.csv", "--address", address)
    _error("profile", "cli-not-loaded", "--address", address)


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
    assert "no JSON" in done.stdout
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
    assert "1 records taken, 5 known already" in cdp("import", path, "--address", address).stdout
    copy = write("copy.ndjson", path.read_text())
    assert "0 records taken, 6 known already" in cdp("import", copy, "--address", address).stdout
    assert "6 records taken" in cdp("import", copy, "--as-new", "other shop", "--address", address).stdout


def test_what_a_file_is_taken_for_is_said_before_anything_is_sent(address: str, write: Write) -> None:
    content = ";user_id;name;time;note\n0;cli-said;Ann;1772355600;größe\n".encode("utf-16")
    done = cdp("import", write("said.csv", content), "--event-name", "cli.said", "--address", address)
    for told in ("utf-16", "';'", "index", "'name' is taken for a property", "seconds since 1970"):
        assert told in done.stderr
    shown = cdp("profile", "cli-said", "--address", address).stdout
    assert re.search(r"2026-03-01 09:00:00\s+cli\.said\s+name=Ann, note=größe", shown)


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.csv", b"user_id,event,time\n"), ("none.ndjson", b"\n\n"), ("binary.csv", b"\x89PNG\xff" * 99)],
)
def test_a_file_without_records_is_an_error(address: str, write: Write, name: str, content: bytes) -> None:
    assert name in _error("import", write(name, content), "--address", address)


def test_a_column_that_no_file_has_ends_the_command_with_the_names_there_are(address: str, write: Write) -> None:
    path = write("names.csv", "Kunden,event,time\ncli-x,E,2026-03-01\n")
    message = _error("import", path, "--user-id", "Kunde", "--address", address, code=2)
    assert "--user-id 'Kunde'" in message and "did you mean 'Kunden'?" in message and "'event', 'time'" in message
    assert "1 records taken" in cdp("import", path, "--user-id", "Kunden", "--address", address).stdout


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
    assert name in _error("import", path, "--address", address)


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
    assert "damaged.parquet" in _error("import", path, "--address", address)


def test_numbers_that_are_no_time_in_a_parquet_file_are_rejected_one_by_one(address: str, tmp_path: Path) -> None:
    path = tmp_path / "nan.parquet"
    times = pa.array([1709985605.0, float("nan"), float("inf"), 1709985606.0])
    pq.write_table(pa.table({"user_id": ["cli-nan"] * 4, "event": ["cli.nan"] * 4, "time": times}), path)
    done = cdp("import", path, "--address", address, code=1)
    assert "2 records taken, 0 known already, 2 rejected" in done.stdout
    assert "nan.parquet row 2" in done.stdout


# -------------------------------------------------------------------------------------------------------------- answers


def _query(address: str, text: str, *options: object) -> str:
    return cdp("query", text, "--as-of", PAST, "--address", address, *options).stdout


def test_a_question_is_answered_with_count_share_and_coverage(people: str) -> None:
    shown = _query(people, 'count("cli.seen") >= 2')
    assert re.match(r"1 of \d[\d,]* users \(\d+\.\d\d%\)\n", shown)
    assert "as of 2024-03-10T12:00:00Z" in shown
    assert "16/16 partitions" in shown


def test_as_of_moves_the_instant_and_the_zone_moves_the_days(people: str) -> None:
    day = 'did("cli.seen", from: 2024-03-02, to: 2024-03-02)'
    assert _query(people, day).startswith("1 of")
    # 23:30 UTC is the next day in Berlin: ann and bob on the 2nd.
    assert _query(people, day, "--tz", "Europe/Berlin").startswith("2 of")
    assert _query(people, 'did("cli.seen")').startswith("3 of")
    before = cdp("query", 'did("cli.seen")', "--as-of", "2024-03-03", "--address", people).stdout
    assert before.startswith("2 of")


def test_ids_are_printed_one_a_line(people: str) -> None:
    assert sorted(_query(people, 'did("cli.seen")', "--ids").splitlines()) == ["cli-ann", "cli-bob", "cli-cy"]
    assert _query(people, "not everyone", "--ids") == ""
    found = [json.loads(line) for line in _query(people, 'cli_plan = "gold"', "--ids", "--json").splitlines()]
    assert sorted((item["kind"], item["id"]) for item in found) == [
        ("anonymous_id", "cli-anon"), ("user_id", "cli-ann"),
    ]  # fmt: skip


def test_ids_may_go_to_a_reader_that_stops_early(people: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m cdp_router query everyone --ids --address {people} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_breakdown_lists_every_value_and_none(people: str) -> None:
    shown = _query(people, 'did("cli.seen")', "--by", "cli_plan")
    rows = [line.split() for line in shown.splitlines()[2:5]]
    assert sorted(rows) == [['"[/x]"', "1", "33.3%"], ["(none)", "1", "33.3%"], ["gold", "1", "33.3%"]]


def test_a_funnel_is_a_table_of_steps(people: str) -> None:
    shown = _query(people, 'funnel("cli.seen" -> "cli.seen"(n = 2) -> "cli.seen")')
    rows = [line.split() for line in shown.splitlines()[1:4]]
    assert rows == [
        ["1", "cli.seen", "3", "100.0%", "100.0%"], ["2", "cli.seen", "1", "33.3%", "33.3%"],
        ["3", "cli.seen", "1", "33.3%", "100.0%"],
    ]  # fmt: skip


def test_explain_shows_every_part_with_its_numbers(people: str) -> None:
    shown = _query(people, 'did("cli.seen") and not cli_plan = "[/x]"', "--explain")
    lines = [line for line in shown.splitlines() if "did(" in line or "cli_plan" in line]
    assert len(lines) == 2
    assert re.search(r'^\s+did\("cli\.seen"\)\s+3\s+', lines[0])
    assert 'cli_plan != "[/x]"' in lines[1]  # after the rules, which take the not in


def test_json_is_the_whole_answer_and_nothing_else(people: str) -> None:
    shown = json.loads(_query(people, 'did("cli.seen") or did("[/x]")', "--by", "cli_plan", "--explain", "--json"))
    assert shown["count"] == "3"
    assert shown["as_of"] == PAST
    assert shown["exact"] is True
    assert shown["flags"] == ["UNKNOWN_NAME"]
    assert {row["value"].get("text"): row["count"] for row in shown["breakdown"]} == {
        "gold": "1",
        "[/x]": "1",
        None: "1",
    }
    assert shown["coverage"]["total"] == len(shown["coverage"]["answered"]) == 16
    assert shown["explanation"]


def test_a_profile_shows_ids_attributes_and_the_timeline(people: str) -> None:
    shown = cdp("profile", "cli-ann", "--events", "2", "--address", people).stdout
    lines = shown.splitlines()
    assert lines[0] == "user_id cli-ann"
    assert lines[1].startswith("since 2024-03-01T00:00:00Z")
    assert re.search(r"^cli_plan\s+gold\s*$", shown, re.MULTILINE)
    assert "[/red] 100% [bold]" in shown
    assert "3 events, the latest 2:" in shown
    times = re.findall(r"^2024-03-0(\d) 23:30:00\s+cli\.seen\s+n=(\d) *$", shown, re.MULTILINE)
    assert times == [("3", "3"), ("2", "2")]


def test_a_profile_shows_how_its_events_came_in(people: str) -> None:
    shown = cdp("profile", "cli-ann", "--events", "2", "--origins", "--address", people).stdout
    rows = re.findall(
        r"^2024-03-0(\d) 23:30:00\s+cli\.seen\s+20\d\d-\d\d-\d\d \S+.*user_id cli-ann\s+(\d+:\d+) *$", shown, re.M
    )
    assert [day for day, _ in rows] == ["3", "2"]
    assert len(re.findall(r" f-[\w-]{20} ", shown)) == 2  # ids of a file's records


def test_a_person_is_exported_as_a_document_and_as_tables(people: str, tmp_path: Path) -> None:
    found = json.loads(cdp("export", "profile", "cli-ann", "--address", people).stdout)
    assert found["totals"]["events"] == len([each for each in found["records"] if "event" in each]) == 3
    folder = tmp_path / "ann"
    told = cdp("export", "profile", "cli-ann", "--format", "parquet", "--to", str(folder), "--address", people).stdout
    assert "3 events" in told and (folder / "events.parquet").exists()
    _error("export", "profile", "cli-ann", "--to", str(folder), "--address", people)
    _error("export", "profile", "nobody", "--address", people)


def test_members_are_exported_with_attributes(people: str, tmp_path: Path) -> None:
    path = tmp_path / "gold.csv"
    asked = ("export", "members", 'did("cli.seen")', "--attributes", "cli_plan,cli_tags", "--address", people)
    assert "3 members" in cdp(*asked, "--to", path).stdout
    lines = path.read_text().splitlines()
    assert lines[0] == '"kind","id","cli_plan","cli_tags"'
    assert sorted(lines[1:]) == [
        '"user_id","cli-ann","gold",',
        '"user_id","cli-bob","[/x]",',
        '"user_id","cli-cy",,"[""a"",""b""]"',
    ]
    assert "gold.csv exists already" in _error(*asked, "--to", path)
    assert [each.name for each in tmp_path.iterdir()] == ["gold.csv"]


def test_everything_is_exported_and_imported_again(people: str, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    asked = ("export", "all", "--to", folder, "--format", "ndjson", "--address", people)
    assert "events" in cdp(*asked).stdout
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text().splitlines()]
    own = [each for each in events if each["profile_id"] == "cli-ann"]
    assert {"event": "cli.seen", "properties": {"n": 1}, "time": "2024-03-01T23:30:00Z"}.items() <= own[0].items()


def test_a_profile_as_json_and_by_anonymous_id(people: str) -> None:
    found = json.loads(cdp("profile", "cli-cy", "--json", "--address", people).stdout)
    assert found["identifiers"] == [{"kind": "user_id", "value": "cli-cy"}]
    assert [item["text"] for item in found["attributes"]["cli_tags"]["list"]["items"]] == ["a", "b"]
    assert len(found["events"]) == 1
    shown = cdp("profile", "cli-anon", "--anonymous", "--address", people).stdout
    assert shown.startswith("anonymous_id cli-anon\n")
    _error("profile", "cli-anon", "--address", people)


def test_the_status_shows_shards_sizes_and_names(people: str) -> None:
    shown = cdp("status", "--names", "--address", people).stdout
    assert len(re.findall(r"^[01]\s+127\.0\.0\.1:\d+\s+serving\s+8\s", shown, re.MULTILINE)) == 2
    assert re.search(r"^events: .*cli\.seen", shown, re.MULTILINE)
    assert re.search(r"^attributes: .*cli_plan", shown, re.MULTILINE)
    found = json.loads(cdp("status", "--json", "--address", people).stdout)
    assert found["partition_count"] == 16
    assert [shard["reachable"] for shard in found["shards"]] == [True, True]


def test_a_question_goes_out_as_json_and_comes_back(people: str, write: Write) -> None:
    text = 'count("cli.seen", n >= 1) >= 2'
    printed = json.loads(cdp("query", text, "--json", "--address", people).stdout)
    path = write("question.json", json.dumps(printed["question"]))
    answered = json.loads(cdp("query", "--tree", path, "--json", "--address", people).stdout)
    assert (answered["text"], answered["count"]) == (text, printed["count"]) == (text, "1")
    assert cdp("query", "--tree", path, "--ids", "--address", people).stdout == "cli-ann\n"


@pytest.mark.parametrize("content", ["", "{", '{"segment": {"no_such": 1}}', "{}"])
def test_a_question_in_json_that_is_none_is_one_message(people: str, write: Write, content: str) -> None:
    path = write("question.json", content)
    done = cdp("query", "--tree", path, "--address", people, code=None)
    assert done.returncode == 2 or "must be given" in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


def test_segments_are_kept_under_names(people: str) -> None:
    at = ("--address", people)
    assert "cli-many version 1: count" in cdp("segment", "create", "cli-many", 'count("cli.seen") >= 2', *at).stdout
    assert cdp("query", 'in_segment("cli-many")', "--ids", *at).stdout == "cli-ann\n"
    cdp("segment", "create", "cli-many", 'count("cli.seen") >= 1', "--description", "all who were seen", *at)
    cdp("segment", "create", "cli-two", 'in_segment("cli-many", version: 1)', *at)
    assert len(cdp("query", 'in_segment("cli-many")', "--ids", *at).stdout.split()) == 3
    assert "all who were seen" in cdp("segment", "show", "cli-many", *at).stdout
    assert "version 1" in cdp("segment", "show", "cli-many", "--version", "1", *at).stdout
    listed = cdp("segment", "list", *at).stdout
    assert "cli-many" in listed and "cli-two" in listed
    assert "named by 'cli-two'" in cdp("segment", "delete", "cli-many", *at, code=1).stderr
    cdp("segment", "delete", "cli-two", *at)
    assert "2 versions" in cdp("segment", "delete", "cli-many", *at).stdout
    assert "no segment is named" in cdp("query", 'in_segment("cli-many")', *at, code=1).stderr


def test_a_clevertap_query_is_asked_as_it_is(people: str, write: Write) -> None:
    query = {
        "event_name": "cli.seen",
        "from": 20240303,
        "to": 20240303,
        "event_properties": [{"name": "n", "value": 3}],
    }
    path = write("cql.json", json.dumps(query))
    done = cdp("query", "--cql", path, "--ids", "--address", people)
    assert sorted(done.stdout.split()) == ["cli-ann", "cli-cy"]
    answered = json.loads(cdp("query", "--cql", path, "--json", "--address", people).stdout)
    assert answered["text"] == 'did("cli.seen", n in [3], from: 2024-03-03, to: 2024-03-03)'
    path = write("wrong.json", '{"event_name": "A", "form": 20240303}')
    assert "did you mean 'from'" in cdp("query", "--cql", path, "--address", people, code=1).stderr


def test_the_proof_for_one_person(people: str, write: Write) -> None:
    text = 'cli_plan = "gold" and not count("cli.seen", n >= 1) >= 3'
    done = cdp("explain-user", "cli-ann", text, "--address", people)
    assert "cli-ann is not in the segment" in done.stdout
    assert "gold, since 2024-03-01" in done.stdout
    assert done.stdout.count("cli.seen  n ") == 3
    early = cdp("explain-user", "cli-ann", text, "--as-of", "2024-03-03", "--address", people)
    assert "cli-ann is in the segment" in early.stdout
    found = json.loads(cdp("explain-user", "cli-anon", text, "--anonymous", "--json", "--address", people).stdout)
    assert found["member"] and found["proof"]["parts"][0]["holds"]
    path = write("cql.json", '{"event_name": "cli.seen", "from": 20240303, "to": 20240303}')
    assert "cli-bob is not in" in cdp("explain-user", "cli-bob", "--cql", path, "--address", people).stdout
    assert "no profile has user_id" in cdp("explain-user", "cli-nobody", text, "--address", people, code=1).stderr
    report = 'funnel("cli.seen" -> "cli.seen")'
    assert "this is a report" in cdp("explain-user", "cli-ann", report, "--address", people, code=1).stderr


def test_erase_forgets_a_profile_once(address: str, write: Write) -> None:
    line = {"user_id": "cli-gone", "event": "cli.erased", "time": "2024-03-01", "properties": {"n": 1}}
    cdp("import", write("gone.ndjson", json.dumps(line)), "--address", address)
    assert "cli.erased" in cdp("profile", "cli-gone", "--address", address).stdout
    kept = cdp("erase", "cli-gone", "--address", address, typed="n\n", code=1)
    assert "Erase user_id cli-gone permanently?" in kept.stdout
    assert "forgotten: user_id cli-gone" in cdp("erase", "cli-gone", "--yes", "--address", address).stdout
    for command in (("profile", "cli-gone"), ("erase", "cli-gone", "--yes")):
        assert "no profile has user_id 'cli-gone'" in cdp(*command, "--address", address, code=1).stderr


@pytest.mark.long
def test_an_erased_person_is_suppressed_with_a_receipt_and_let_in_again(
    address: str, write: Write, tmp_path: Path
) -> None:
    line = {"user_id": "cli-never", "event": "cli.never", "time": "2024-03-01"}
    path, receipt = write("never.ndjson", json.dumps(line)), tmp_path / "receipt.json"
    cdp("import", path, "--address", address)
    cdp("erase", "cli-never", "--suppress", "--receipt", receipt, "--yes", "--address", address)
    told = json.loads(receipt.read_text())
    assert told["erased"] and told["suppressed"] == 1 and len(told["scans"]) == 2
    path = write("late.ndjson", json.dumps({**line, "message_id": "late"}))
    assert "IDENTIFIER_SUPPRESSED" in cdp("import", path, "--address", address, code=1).stdout
    assert re.search(r"^[0-9a-f]{32} +20", cdp("suppressions", "list", "--address", address).stdout, re.MULTILINE)
    assert cdp("suppressions", "lift", "cli-never", "--address", address).stdout == "lifted\n"
    assert "is not suppressed" in cdp("suppressions", "lift", "cli-never", "--address", address, code=1).stderr


@pytest.mark.long
def test_rules_are_set_and_what_breaks_them_waits_in_quarantine(address: str, write: Write) -> None:
    rule = {"event": "cli.ruled", "mode": "VIOLATION_MODE_QUARANTINE"}
    number = {"name": "n", "type": "VALUE_TYPE_INTEGER", "required": True}
    cdp(
        "schema",
        "set",
        write("rules.json", json.dumps({"rules": [{**rule, "properties": [number]}]})),
        "--address",
        address,
    )
    shown = json.loads(cdp("schema", "show", "--address", address).stdout)
    assert shown["rules"][0]["properties"] == [number]
    line = {"user_id": "cli-ruled", "event": "cli.ruled", "time": "2024-03-01", "properties": {"n": "one"}}
    loaded = cdp("import", write("ruled.ndjson", json.dumps(line)), "--address", address).stdout
    assert "1 records are in quarantine" in loaded and "'n' must be of type integer" in loaded
    assert "n=one" in cdp("quarantine", "list", "--address", address).stdout
    assert "0 taken, 0 had been taken before, 1 stay" in cdp("quarantine", "redrive", "--address", address).stdout
    cdp("schema", "set", write("none.json", "{}"), "--address", address)
    assert "1 taken" in cdp("quarantine", "redrive", "--address", address).stdout
    assert "the quarantine is empty" in cdp("quarantine", "list", "--address", address).stdout
    assert "0 dropped" in cdp("quarantine", "drop", "--yes", "--address", address).stdout
    assert re.search(
        r"^cli\.ruled .*\n +n +text 1 +1 ", cdp("schema", "discover", "--address", address).stdout, re.MULTILINE
    )
    wrong = write("wrong.json", '{"rules": [{"mode": "NO_MODE"}]}')
    assert "wrong.json" in cdp("schema", "set", wrong, "--address", address, code=1).stderr


def test_retention_shows_and_changes_how_long_events_are_kept(address: str, write: Write) -> None:
    lines = [
        {"user_id": "cli-kept", "event": "cli.kept", "time": when, "message_id": when} for when in ("2001-01-01", PAST)
    ]
    cdp("import", write("kept.ndjson", "\n".join(map(json.dumps, lines))), "--address", address)
    assert "(all others)  for ever" in cdp("retention", "--address", address).stdout
    asked = cdp("retention", "cli.kept", "--days", "8000", "--address", address, typed="n\n", code=1)
    assert "Drop 'cli.kept' older than 8000 days for good?" in asked.stdout
    shown = cdp("retention", "cli.kept", "--days", "8000", "--yes", "--address", address).stdout
    assert re.search(r"cli.kept +8000 days +20\d\d-", shown)
    assert "1 events" in cdp("profile", "cli-kept", "--address", address).stdout
    assert re.search(r"cli.kept +for ever", cdp("retention", "cli.kept", "--for-ever", "--address", address).stdout)


def test_retention_explains_what_it_cannot_do(address: str) -> None:
    for arguments, message in (
        (("--days", "3", "--for-ever"), "exclude each other"),
        (("cli.kept",), "--days N or --for-ever"),
        (("x" * 121, "--for-ever"), "longer than 120 bytes"),
        (("x", "--days", "999999", "--yes"), "at most 366000"),
    ):
        assert message in cdp("retention", *arguments, "--address", address, code=None).stderr


def test_a_question_is_asked_for_in_one_of_its_forms(write: Write) -> None:
    path = write("question.json", "{}")
    for arguments in (["query"], ["query", "everyone", "--tree", path], ["query", "--tree", path, "--cql", path]):
        assert "a text, --tree FILE or --cql FILE" in cdp(*arguments, code=2).stderr
