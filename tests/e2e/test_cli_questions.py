"""Questions on the command line, and the answers a person sees."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.e2e.processes import ENVIRONMENT, Write, cdp, error_of

PAST = "2024-03-10T12:00:00Z"


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


def test_a_profile_as_json_and_by_anonymous_id(people: str) -> None:
    found = json.loads(cdp("profile", "cli-cy", "--json", "--address", people).stdout)
    assert found["identifiers"] == [{"kind": "user_id", "value": "cli-cy"}]
    assert [item["text"] for item in found["attributes"]["cli_tags"]["list"]["items"]] == ["a", "b"]
    assert len(found["events"]) == 1
    shown = cdp("profile", "cli-anon", "--anonymous", "--address", people).stdout
    assert shown.startswith("anonymous_id cli-anon\n")
    error_of("profile", "cli-anon", "--address", people)


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


def test_a_question_is_asked_for_in_one_of_its_forms(write: Write) -> None:
    path = write("question.json", "{}")
    for arguments in (["query"], ["query", "everyone", "--tree", path], ["query", "--tree", path, "--cql", path]):
        assert "a text, --tree FILE or --cql FILE" in cdp(*arguments, code=2).stderr
