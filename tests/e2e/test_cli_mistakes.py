"""The command line with options, values and questions that cannot be: one clear message for every mistake."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.processes import Write, cdp, cdp_process, error_of

PAST = "2024-03-10T12:00:00Z"


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


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
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named(arguments: list[str], named: str) -> None:
    assert named in error_of(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "code", "printed", "said"),
    [
        (["--version"], 0, "cdp ", ""), (["status", "--adress", "x"], 2, "", "No such option: --adress"),
        (["status", "--address", "here"], 2, "", "error: --address 'here'"),
        (["up", "--port", "0", "--shards", "3", "--partitions", "2"], 2, "", "--shards 3"),
        (["retention", "x", "--days", "3", "--for-ever"], 2, "", "exclude each other"),
    ],
)  # fmt: skip
def test_the_process_of_a_command_ends_with_its_code_and_its_message_on_standard_error(
    arguments: list[str], code: int, printed: str, said: str
) -> None:
    done = cdp_process(*arguments, code=code)
    assert printed in done.stdout and said in done.stderr
    assert bool(done.stdout) == bool(printed) and bool(done.stderr) == bool(said)


def test_a_process_tells_of_a_warning_and_of_a_cluster_that_is_not_there(people: str) -> None:
    done = cdp_process("query", 'did("cli.sén")', "--as-of", PAST, "--address", people, code=3)
    assert "UNKNOWN_NAME" in done.stdout
    # Other tests may have sent names that are nearly as near.
    warning = r"warning: no event named 'cli\.sén' has been seen; did you mean 'cli\.seen'( or '[^'\n]+')*\?"
    assert re.fullmatch(warning, done.stderr.strip())
    assert "cdp up" in cdp_process("status", "--address", f"127.0.0.1:{_free_port()}", code=1).stderr


def test_help_and_version_are_printed() -> None:
    assert re.match(r"cdp \d+\.\d+\.\d+", cdp("--version").stdout)
    overview = cdp("--help").stdout
    for command in ("up", "import", "query", "profile", "status", "warm"):
        assert command in overview
        assert "--help" in cdp(command, "--help").stdout


@pytest.mark.parametrize(
    "command", [["query", "everyone"], ["query", "everyone", "--ids"], ["profile", "x"], ["status"]]
)
def test_without_a_cluster_it_says_how_to_start_one(command: list[str]) -> None:
    nowhere = f"127.0.0.1:{_free_port()}"
    message = error_of(*command, "--address", nowhere)
    assert nowhere in message
    assert "cdp up" in message


def test_loading_without_a_cluster_says_so_at_once(write: Write) -> None:
    path = write("a.ndjson", '{"user_id": "x", "event": "E", "time": 1709985605}')
    assert "cdp up" in error_of("import", path, "--address", f"127.0.0.1:{_free_port()}")


def test_a_syntax_error_shows_the_place_and_what_was_expected(people: str) -> None:
    message = error_of("query", 'did("cli.seen") and cli_plan ==', "--address", people)
    lines = message.splitlines()
    assert lines[0].startswith("line 1, column 31")
    assert lines[1].strip() == 'did("cli.seen") and cli_plan =='
    assert lines[2].index("^") - lines[1].index("did") == 30
    assert "expected" in message


def test_a_mistyped_function_suggests_the_nearest(people: str) -> None:
    assert "'count'" in error_of("query", 'cuont("cli.seen") > 1', "--address", people)


@pytest.mark.parametrize("text", ['did("cli.seen", last: 1d)', "everyone"])
def test_an_unknown_time_zone_is_named(people: str, text: str) -> None:
    assert "Mars/Olympus" in error_of("query", text, "--tz", "Mars/Olympus", "--address", people)


def test_an_unknown_profile_is_named(people: str) -> None:
    assert "cli-nobody" in error_of("profile", "cli-nobody", "--address", people)


def test_an_unknown_name_is_a_warning_and_in_strict_mode_an_error(people: str) -> None:
    done = cdp("query", 'did("cli.sen")', "--as-of", PAST, "--address", people, code=3)
    assert done.stderr.startswith("warning: no event named 'cli.sen' has been seen; did you mean 'cli.seen'")
    assert "UNKNOWN_NAME" in done.stdout
    assert "cli.seen" in error_of("query", 'did("cli.sen")', "--strict", "--address", people)
    assert "cli.seen" in error_of("query", 'did("cli.sen")', "--strict", "--ids", "--address", people)


def test_an_erasure_whose_receipt_cannot_be_kept_erases_nobody(people: str, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "receipt.json", tmp_path):
        error = error_of("erase", "cli-cy", "--yes", "--receipt", str(path), "--address", people)
        assert "Nothing was erased" in error and "\n" not in error.strip()
    assert "cli-cy" in cdp("profile", "cli-cy", "--address", people).stdout
