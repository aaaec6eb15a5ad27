"""Segments, exports, retention, rules and erasing on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.processes import Write, cdp, error_of

PAST = "2024-03-10T12:00:00Z"


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
    assert "1 record is in quarantine" in loaded and "'n' must be of type integer" in loaded
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
    assert "1 event" in cdp("profile", "cli-kept", "--address", address).stdout
    assert re.search(r"cli.kept +for ever", cdp("retention", "cli.kept", "--for-ever", "--address", address).stdout)


def test_retention_explains_what_it_cannot_do(address: str) -> None:
    for arguments, message in (
        (("--days", "3", "--for-ever"), "exclude each other"),
        (("cli.kept",), "--days N or --for-ever"),
        (("x" * 121, "--for-ever"), "longer than 120 bytes"),
        (("x", "--days", "999999", "--yes"), "at most 366000"),
    ):
        assert message in cdp("retention", *arguments, "--address", address, code=None).stderr


def test_a_person_is_exported_as_a_document_and_as_tables(people: str, tmp_path: Path) -> None:
    found = json.loads(cdp("export", "profile", "cli-ann", "--address", people).stdout)
    assert found["totals"]["events"] == len([each for each in found["records"] if "event" in each]) == 3
    folder = tmp_path / "ann"
    told = cdp("export", "profile", "cli-ann", "--format", "parquet", "--to", str(folder), "--address", people).stdout
    assert "3 events" in told and (folder / "events.parquet").exists()
    error_of("export", "profile", "cli-ann", "--to", str(folder), "--address", people)
    error_of("export", "profile", "nobody", "--address", people)


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
    assert "gold.csv exists already" in error_of(*asked, "--to", path)
    assert [each.name for each in tmp_path.iterdir()] == ["gold.csv"]


def test_an_export_of_nobody_gives_the_warnings_of_the_question(people: str, tmp_path: Path) -> None:
    asked = ("export", "members", 'did("cli.sen")', "--to", tmp_path / "nobody.csv", "--address", people)
    done = cdp(*asked, code=3)
    assert "warning: " in done.stderr and "cli.seen" in done.stderr
    assert "0 members" in done.stdout


def test_everything_is_exported_and_imported_again(people: str, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    asked = ("export", "all", "--to", folder, "--format", "ndjson", "--address", people)
    assert "events" in cdp(*asked).stdout
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text().splitlines()]
    own = [each for each in events if each["profile_id"] == "cli-ann"]
    assert {"event": "cli.seen", "properties": {"n": 1}, "time": "2024-03-01T23:30:00Z"}.items() <= own[0].items()


def test_the_status_shows_shards_sizes_and_names(people: str) -> None:
    shown = cdp("status", "--names", "--address", people).stdout
    assert len(re.findall(r"^[01]\s+127\.0\.0\.1:\d+\s+serving\s+8\s", shown, re.MULTILINE)) == 2
    assert re.search(r"^events: .*cli\.seen", shown, re.MULTILINE)
    assert re.search(r"^attributes: .*cli_plan", shown, re.MULTILINE)
    found = json.loads(cdp("status", "--json", "--address", people).stdout)
    assert found["partition_count"] == 16
    assert [shard["reachable"] for shard in found["shards"]] == [True, True]
