"""One clear message, and nothing left behind, for inputs of the command line that cannot be."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.errors import NothingMarked, RoleMissing


def _error(*arguments: object, code: int) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("error: ").strip()


class _Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Write no lines."""


@contextmanager
def _http_server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_address_of_a_gateway_is_told_from_one_where_nothing_answers() -> None:
    with _http_server() as address:
        message = _error("query", "everyone", "--address", address, code=1)
    assert message == f"{address} speaks HTTP, as a gateway does. Give --address of a router; `cdp up` prints it"


@pytest.mark.parametrize(
    "address",
    ["here", "http://127.0.0.1:7400", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:82936",
     ":7400", "[::1]", "a b:7400"],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_anything_is_asked(address: str) -> None:
    message = _error("query", "everyone", "--address", address, code=2)
    assert message == f"--address {address!r} must be host:port, such as 127.0.0.1:7400"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, column 1: is not JSON (Expecting value); one JSON object is expected"),
        ('{"rules": []}\n{"rules": []}', "line 2, column 1: is not JSON (Extra data); one JSON object is expected"),
        ('{"rules": [\n]]}', "line 2, column 2: is not JSON (Expecting ',' delimiter); one JSON object is expected"),
        ("[1]", "holds a list; one JSON object is expected"),
        ('"rules"', "holds a text; one JSON object is expected"),
        ("7", "holds a number; one JSON object is expected"),
        ("null", "holds null; one JSON object is expected"),
        ("[" * 100_000, "nested too deeply"),
        ('{"rules": 5}', "is not a cdp.v1.SchemaRules: Failed to parse rules field: "),
        ('{"rules": [{"event": 5}]}', "Failed to parse event field: expected string"),
        ('{"rules": [{"mode": "NO_MODE"}]}', "NO_MODE"),
        ('{"kinds": 1}', "has no field named \"kinds\" at \"SchemaRules\". Available Fields"),
        ('{"rules": [], "rules": []}', "Failed to load JSON: duplicate key rules"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_schema_is_refused_with_place_and_reason(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    message = _error("schema", "set", path, code=1)
    assert message.startswith(f"{path}: ")
    assert told in message


def test_a_tree_is_refused_by_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_text("[1]")
    assert _error("query", "--tree", path, code=2) == f"--tree {path}: holds a list; one JSON object is expected"


@pytest.mark.parametrize("option", ["--port", "--gateway-port"])
def test_a_port_in_use_is_told_before_anything_is_made(option: str, tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        others = ["--port", "0"] if option == "--gateway-port" else ["--no-gateway"]
        message = _error("up", "--data", tmp_path / "data", *others, option, port, code=1)
    assert message == f"port {port} is in use, perhaps by another `cdp up`. Stop it, or give another {option}"
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine_is_told_before_anything_is_made(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    shape = ["--host", "192.0.2.1", "--insecure", "--keys", keys]
    message = _error("up", "--data", tmp_path / "data", *shape, code=1)
    assert message.startswith("cannot listen on 192.0.2.1:7400: ")
    assert not (tmp_path / "data").exists()


def test_a_mistyped_role_is_told_with_those_there_are(tmp_path: Path) -> None:
    command = ["keys", "create", "web", "--role", "queri", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "'queri' is not one of 'ingest', 'query', 'profile-read', 'admin', 'erase'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_refusals_of_keys_say_what_is_needed() -> None:
    missing = RoleMissing("cdp.v1.QueryService/Members", "profile-read", "1e45c97d5e89")
    assert str(missing) == (
        "the key 1e45c97d5e89 lacks the role profile-read, which cdp.v1.QueryService/Members needs. Whoever runs the "
        "cluster makes keys: `cdp keys create NAME --role profile-read`"
    )
    assert str(NothingMarked()) == (
        "keys without the role profile-read see no profiles until personal names are marked, as with "
        "`cdp privacy mark email`"
    )
