"""The examples run as they stand in the repository, and say what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cdp_router.client import Client
from tests.e2e.processes import ENVIRONMENT

FOLDER = Path(__file__).parents[2] / "examples"


def _run(name: str, address: str) -> str:
    command = [sys.executable, str(FOLDER / name)]
    environment = {**ENVIRONMENT, "CDP_ADDRESS": address, "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_writing_and_asking(address: str) -> None:
    for _ in range(2):  # again changes nothing
        said = _run("write.py", address)
        assert "500 records are durable" in said
        assert "NAME" in said
    said = _run("ask.py", address)
    assert "by text: 54" in said
    assert "gold with a charge of 100 or more: 27 of" in said
    assert "as pandas: (27, 2) as Polars: (27, 2)" in said
    assert "funnel: (('example.Viewed', 200), ('example.Charged', 100))" in said
    assert "by plan: [('free', 150), ('gold', 50)]" in said
    assert "gold ['example.Charged', 'example.Viewed']" in said
    assert "timeline: 2" in said
    assert "INVALID_ARGUMENT QUERY_SYNTAX question" in said
    assert "did you mean 'example.Charged'" in said


def test_an_event_loop(address: str) -> None:
    said = _run("async_app.py", address)
    assert "300 records are durable" in said
    assert "with 1, 3, 4 pages: [100, 100, 0]" in said
    assert "100 members" in said


def test_a_program_that_ends_without_closing_its_writer_has_sent_everything(address: str, client: Client) -> None:
    program = (
        "from cdp_router.client import Client, Writer\n"
        f"writer = Writer(Client({address!r}), linger_seconds=3600)\n"
        "for number in range(50): writer.track('at.exit', f'exit-{number}')\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert client.count('did("at.exit")') == 50
