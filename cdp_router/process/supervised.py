"""Protocol between a process and its supervisor, and the loop that every process runs on."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from importlib.abc import MetaPathFinder
from typing import Any, Final

import msgspec
import uvloop

from cdp_router.background import Background
from cdp_router.process.open_files import allow_many_open_files

EXIT_REFUSED: Final = 78  # "configuration": starting again will not help
AFTER_SHARDS: Final = "--after-shards"  # a router begins with a line of its standard input, when all shards are ready


class Report(msgspec.Struct, omit_defaults=True):
    """One line a process writes to its standard output for its supervisor."""

    event: str  # progress, ready or failed
    message: str = ""
    port: int = 0


def report(line: Report) -> None:
    """Writes a line for the supervisor."""
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def report_ready(port: int) -> None:
    """Reports that the process serves on a port, and begins to search for garbage in cycles.

    Present objects stay: from here on the search for garbage in cycles skips them, because it would hold up every
    call for a tenth of a second now and then. (Partitions hold no cycles: their objects are freed at once.)
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    report(Report("ready", port=port))


async def watch_standard_input(stop: Callable[[], None]) -> Callable[[], None]:
    """Calls `stop` when standard input ends: the supervisor holds its other end for as long as it lives."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def wait_for_end() -> None:
        while await reader.read(4096):
            pass
        stop()

    # Without a supervisor the process must not survive, however the input ends.
    task = Background().begin("watching standard input", wait_for_end(), lambda _: stop())

    def forget() -> None:
        task.cancel()
        transport.close()

    return forget


class _WithoutPandas(MetaPathFinder):
    """Lets a process do as if pandas were not installed.

    pyarrow loads it, if it can, with a process's first array: half a second of every start, and no server uses it.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuses pandas, and leaves other modules to the finders after this one."""
        if fullname == "pandas":
            raise ModuleNotFoundError("servers do without pandas", name=fullname)


def run_process(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a process's coroutine on the fast event loop, without a search for garbage in cycles until it is ready.

    While kernels and data are loaded, such searches would find little and cost a tenth of the start.
    """
    gc.disable()
    allow_many_open_files()
    sys.meta_path.insert(0, _WithoutPandas())
    uvloop.run(main())
