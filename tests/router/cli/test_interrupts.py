"""Ctrl-C: while the command's modules load, and during an import."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cdp.v1 import ingest_pb2
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.client import Client

_LOADING = """
import os, signal, sys

awaited = sys.argv.pop(1)

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == awaited:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
import cdp_router.__main__
"""
_LOADED = "import signal, cdp_router.cli.app; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


@pytest.mark.parametrize(
    ("module", "command"),
    [
        *((module, "query") for module in ("typer", "cdp_router.client", "grpc", "numpy", "pyarrow")),
        ("cdp_router.cli.admin", "erase"),
    ],
)
def test_an_interrupt_while_modules_load_ends_the_command_without_a_traceback(module: str, command: str) -> None:
    words = [sys.executable, "-c", _LOADING, module, command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_loaded_command_is_interrupted_as_usual() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


class _Interrupted:
    """Takes some batches; the one after those interrupts the command, and is in flight then."""

    def __init__(self, batches: int) -> None:
        self.batches, self.numbers = batches, itertools.count()

    def __call__(self, _: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        if next(self.numbers) == self.batches:  # threads send: no two have one number
            signal.raise_signal(signal.SIGINT)
        return ingest_pb2.BatchResult(accepted=4000)


def test_an_interrupted_import_tells_how_far_it_came_and_that_it_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = '{"user_id": "u%d", "event": "E", "time": 1772355600}\n'
    (path := tmp_path / "f.ndjson").write_text("".join(line % number for number in range(100_000)))
    monkeypatch.setattr(Client, "check", lambda _: None)
    monkeypatch.setattr(Client, "ingest", _Interrupted(3))
    done = CliRunner().invoke(app, ["import", str(path), "--address", "127.0.0.1:1"])
    assert done.exit_code == 130, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert re.search(r"\b(4|8|12|16),000 records taken, 0 known already", done.stdout)
    assert re.search(
        r"^interrupted: f\.ndjson is acknowledged up to line (4|8|12|16),000\. ", done.stderr, re.MULTILINE
    )
    assert "Run the same command again: records taken before are known, and are not taken twice" in done.stderr
