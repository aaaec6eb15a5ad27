"""The command line and the processes of a cluster, seen from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from typer.testing import CliRunner

from cdp_router.cli.app import app

Found = TypeVar("Found")
Write = Callable[[str, str | bytes], Path]
# Most of a start is loading kernels; a test of a few records needs few of them, and test_warming is about all.
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "CDP_WARM": "0"}
_POLL_SECONDS = 0.02


def eventually(condition: Callable[[], Found | None], seconds: float = 60.0) -> Found:
    """The first true thing `condition` gives; for what announces itself by no event."""
    give_up_at, pause = time.monotonic() + seconds, threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < give_up_at, f"not within {seconds} s"
        pause.wait(_POLL_SECONDS)


def processes_of(data: Path) -> list[psutil.Process]:
    """Every live process of the cluster whose data lies there, its supervisor first."""
    found = [process for process in psutil.process_iter() if str(data) in _command(process)]
    return sorted(found, key=lambda process: process.pid)


def shard_process(data: Path, shard: int) -> psutil.Process | None:
    """The live process of a shard, if there is one now."""
    return _one(data, "cdp_router.process.shard", "--shard", str(shard))


def router_process(data: Path) -> psutil.Process | None:
    """The live process of the router, if there is one now."""
    return _one(data, "cdp_router.process.router")


def supervisor_process(data: Path) -> psutil.Process:
    """The process of `cdp up`."""
    found = _one(data, "cdp_router", "up")
    assert found is not None
    return found


def kill(process: psutil.Process | None) -> None:
    """`kill -9`, and wait until it is dead."""
    assert process is not None
    process.kill()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def _one(data: Path, *words: str) -> psutil.Process | None:
    for process in processes_of(data):
        if all(word in _command(process) for word in words):
            return process
    return None


def _command(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its exit code, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def cdp(*arguments: object, code: int | None = 0, typed: str = "") -> Ended:
    """A `cdp` command run to its end in this process and given `typed` to read.

    A process of its own would spend a second of loading the same modules. An exception that ends a command ends the
    test.
    """
    words = list(map(str, arguments))
    found = CliRunner(env=ENVIRONMENT).invoke(app, words, input=typed, catch_exceptions=False, prog_name="cdp")
    return _checked(Ended(found.exit_code, found.stdout, found.stderr), code)


def cdp_process(*arguments: object, code: int | None = 0) -> Ended:
    """A `cdp` command run to its end as a user starts it."""
    command = [sys.executable, "-m", "cdp_router", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False, input="")
    return _checked(Ended(done.returncode, done.stdout, done.stderr), code)


def error_of(*arguments: object, code: int = 1) -> str:
    """The one message a command that fails prints."""
    done = cdp(*arguments, code=code)
    message = done.stderr.strip()
    assert message.startswith("error: "), done
    assert message.count("error:") == 1
    return message.removeprefix("error: ")


def _checked(done: Ended, code: int | None) -> Ended:
    """The command, if it ended with this code; whatever happens, nothing it prints is a traceback."""
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said[:300] + " ... " + said[-300:]
    if code is not None:
        assert done.returncode == code, (done.returncode, said)
    return done


@contextmanager
def starting_cluster(*options: object) -> Iterator[subprocess.Popen[str]]:
    """`cdp up` on its way; ended at the end of the block, however far it came."""
    command = [sys.executable, "-m", "cdp_router", "up", "--no-gateway", "--port", "0", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a process prints up to and with the first line that holds `text`."""
    assert process.stdout is not None
    said = list[str]()
    for line in process.stdout:
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError(f"ended without {text!r}: {''.join(said)}")
