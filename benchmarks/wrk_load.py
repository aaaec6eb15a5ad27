"""wrk, a load tool written in C, as the client of the gateway: it takes less of the machine than a client of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "@@"
USER_MARK: Final = "^^"
_SCRIPT: Final = Path(__file__).with_name("wrk_batches.lua")
_THREADS: Final = 2
_UNITS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_LATENCY: Final = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_DONE: Final = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)")
_FAILED: Final = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_ERRORS: Final = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk says of a run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


class WrkFailed(Exception):
    """wrk said something else than a result; the message is what."""


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run_wrk(
    host: str, port: int, body: str, prefix: str, connections: int, seconds: int, per_second: float | None
) -> WrkResult:
    """Send bodies for so long, at most so many a second; in `body`, ids of its own stand for each MARK, and for each
    USER_MARK a number below 100 that goes round.

    A delay counts from when wrk sends: one that is late because the gateway was is not counted as such.
    """
    between_ms = 0.0 if per_second is None else 1000 * _THREADS / per_second
    with tempfile.NamedTemporaryFile("w", suffix=".json") as template:
        template.write(body)
        template.flush()
        command = [
            *("wrk", "--latency", "--timeout", "30s", "-t", str(_THREADS), "-c", str(connections)),
            *("-d", f"{seconds}s", "-s", str(_SCRIPT), f"http://{host}:{port}", "--"),
            *(template.name, prefix, str(between_ms)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(said: str) -> WrkResult:
    """The numbers in what wrk prints; WrkFailed where they are not there."""
    run, delays = _DONE.search(said), {each[1]: float(each[2]) * _UNITS[each[3]] for each in _LATENCY.finditer(said)}
    if run is None or delays.keys() != {"50", "99"}:
        raise WrkFailed(said.strip())
    failed, errors = _FAILED.search(said), _ERRORS.search(said)
    wrong = (int(failed[1]) if failed else 0) + (sum(map(int, errors.groups())) if errors else 0)
    seconds = float(run[2]) * _UNITS[run[3]] / 1000
    return WrkResult(int(run[1]), seconds, delays["50"], delays["99"], wrong)
