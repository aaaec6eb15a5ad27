"""The supervisor of `cdp up`: starts shards and router, restarts what dies, stops all of it cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.process.serving import Report
from cdp_router.process.shard import EXIT_REFUSED
from cdp_router.topology import ClusterDirectory, ClusterFile

_STOP_SECONDS: Final = 15.0
_RESTARTS_MAX: Final = 5  # within the window: more means that restarting does not help
_RESTART_WINDOW_SECONDS: Final = 60.0
_RESTART_WAIT_SECONDS: Final = 0.2


class ClusterFailed(Exception):
    """The cluster cannot run; the message says why."""


class Child:
    """One supervised process. Its address stays the same when it is restarted."""

    def __init__(self, name: str, module: str, arguments: list[str], host: str, port: int, log_path: Path) -> None:
        self.name, self.port = name, port
        self._module, self._arguments, self._host, self._log_path = module, arguments, host, log_path
        self._process: asyncio.subprocess.Process | None = None
        self.last_words = ""

    @property
    def address(self) -> str:
        """Where the process listens."""
        return f"{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id, 0 before it was started."""
        return self._process.pid if self._process else 0

    def give_arguments(self, arguments: list[str]) -> None:
        """Set what the process is started with from now on."""
        self._arguments = arguments

    async def start(self, tell: Callable[[str], None]) -> bool:
        """Start the process and wait until it is ready; False when it ended instead."""
        command = [sys.executable, "-m", self._module, *self._arguments, "--address", self.address]
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # In a session of its own, Ctrl-C reaches only the supervisor, which then stops its children in order.
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        return await self._wait_ready(tell)

    async def _wait_ready(self, tell: Callable[[str], None]) -> bool:
        assert self._process is not None and self._process.stdout is not None
        async for line in self._process.stdout:
            said = msgspec.json.decode(line, type=Report)
            if said.event == "ready":
                self.port = said.port
                return True
            if said.event == "failed":
                self.last_words = said.message
            else:
                tell(said.message)
        await self._process.wait()
        return False

    async def wait(self) -> int:
        """Wait for the process to end; its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask the process to end, and after a while make it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


class Supervisor:
    """Runs one cluster until it is told to stop."""

    def __init__(
        self,
        directory: ClusterDirectory,
        cluster: ClusterFile,
        host: str,
        port: int,
        tell: Callable[[str], None],
        shard_options: Sequence[str] = (),
    ) -> None:
        self._directory, self._tell = directory, tell
        data = ["--data", str(directory.path)]
        (directory.path / "logs").mkdir(exist_ok=True)
        self._shards = [
            Child(
                f"shard {number}",
                "cdp_router.process.shard",
                [*data, "--shard", str(number), *shard_options],
                host,
                0,
                directory.log_path(f"shard-{number}"),
            )
            for number in range(cluster.shards)
        ]
        self._router = Child("router", "cdp_router.process.router", data, host, port, directory.log_path("router"))
        self._data, self._host = data, host
        self._stopping = asyncio.Event()

    @property
    def router_address(self) -> str:
        """Where clients connect."""
        return self._router.address

    def addresses(self) -> Iterator[tuple[str, str, int]]:
        """(name, address, process id) of every process."""
        for child in (self._router, *self._shards):
            yield child.name, child.address, child.pid

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM; ClusterFailed when it cannot."""
        asyncio.run(self._run(on_ready))

    async def _run(self, on_ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            if await self._unless_stopped(self._start()):
                on_ready()
                await self._watch()
        finally:
            await self._router.stop()
            await asyncio.gather(*(shard.stop() for shard in self._shards))

    async def _start(self) -> None:
        started = await asyncio.gather(*(shard.start(self._tell) for shard in self._shards))
        for shard, is_ready in zip(self._shards, started, strict=True):
            if not is_ready:
                raise ClusterFailed(self._epitaph(shard))
        addresses = ",".join(shard.address for shard in self._shards)
        self._router.give_arguments([*self._data, "--shards", addresses])
        if not await self._router.start(self._tell):
            raise ClusterFailed(self._epitaph(self._router))

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do `work` unless told to stop before it is done; whether it was done."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            return False
        task.result()
        return True

    async def _watch(self) -> None:
        keepers = [asyncio.create_task(self._keep(child)) for child in (self._router, *self._shards)]
        stopped = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({*keepers, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*keepers, stopped):
            task.cancel()
        for task in done:
            task.result()

    async def _keep(self, child: Child) -> None:
        """Start the child again whenever it ends."""
        ended = list[float]()
        while True:
            code = await child.wait()
            now = time.monotonic()
            ended = [moment for moment in ended if now - moment < _RESTART_WINDOW_SECONDS] + [now]
            if code == EXIT_REFUSED or len(ended) > _RESTARTS_MAX:
                raise ClusterFailed(self._epitaph(child))
            self._tell(f"{child.name} ended ({_cause(code)}); starting it again")
            await asyncio.sleep(_RESTART_WAIT_SECONDS)
            if await child.start(self._tell):
                self._tell(f"{child.name} is back")

    def _epitaph(self, child: Child) -> str:
        log = self._directory.log_path(child.name.replace(" ", "-"))
        return f"{child.name} cannot run: {child.last_words or 'it keeps ending'} (its log: {log})"


def _cause(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
