"""A cluster in processes of its own, started and stopped the way a user does it: with `cdp up`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READY = re.compile(r"ready: router at (\S+)")


class ClusterDidNotStart(Exception):
    """`cdp up` ended before it was ready; the message is what it printed."""


@contextmanager
def running_cluster(data: Path, shards: int = 2, *, echo: bool = False, warm: bool = True) -> Iterator[str]:
    """The router's address of a cluster that runs for the length of the block; one that is not `warm` loads its
    kernels when they are needed."""
    command = [sys.executable, "-m", "cdp_router", "up", "--data", str(data), "--shards", str(shards), "--port", "0"]
    command.append("--no-gateway")
    environment = {**os.environ, "COLUMNS": "200"} | ({} if warm else {"CDP_WARM": "0"})
    # What it prints while it runs goes to a file: a pipe that nobody reads would stop it one day.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        try:
            yield _address(process, echo=echo)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def _address(process: subprocess.Popen[str], *, echo: bool) -> str:
    assert process.stdout is not None
    printed = list[str]()
    for line in process.stdout:
        printed.append(line)
        if echo and line.strip():
            print("  " + line.rstrip(), flush=True)
        if found := _READY.search(line):
            return found.group(1)
    raise ClusterDidNotStart("".join(printed))
