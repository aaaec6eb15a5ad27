"""The supervisor of `cdp up`: starts shards and router, restarts those that end, stops all of them cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.background import awaited
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.process.supervised import AFTER_SHARDS, EXIT_REFUSED, Report
from cdp_router.security.tls.loopback import is_loopback
from cdp_store.errors import DirectoryDamaged
from cdp_store.log.local import NO_ROOM

_STOP_SECONDS: Final = 15.0
_RESTARTS_MAX: Final = 5  # within the window: more means that restarting does not help
_RESTART_WINDOW_SECONDS: Final = 60.0
_RESTART_WAIT_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 1.0  # between checks of the members of the cluster


class ClusterFailed(Exception):
    """The cluster cannot run; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """Settings that the processes are started with, apart from the place of their data."""

    shard: Sequence[str] = ()
    router: Sequence[str] = ()
    gateway: Sequence[str] = ()  # in addition to the routers'


class Child:
    """One supervised process. Its address stays the same when it is restarted."""

    def __init__(self, name: str, module: str, arguments: list[str], host: str, port: int, log_path: Path) -> None:
        self.name, self.port = name, port
        self._module, self._arguments, self._host, self._log_path = module, arguments, host, log_path
        self._process: asyncio.subprocess.Process | None = None
        self.last_words = ""
        self.more_arguments = list[str]()  # for its next start

    @property
    def address(self) -> str:
        """Address at which the process listens."""
        return f"{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id, 0 before it was started."""
        return self._process.pid if self._process else 0

    async def start(self, tell: Callable[[str], None]) -> bool:
        """Starts the process and waits until it is ready; False when it ended instead."""
        await self.launch()
        return await self.wait_ready(tell)

    async def launch(self, *options: str) -> None:
        """Starts the process, with these options for this one start, and does not wait for it."""
        command = [sys.executable, "-m", self._module, *self._arguments, "--address", self.address]
        command += [*self.more_arguments, *options]
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # In a session of its own, Ctrl-C reaches only the supervisor, which then stops its children in order.
                start_new_session=True,
                # The output of gRPC's own library is no JSON line, and any client can cause it.
                env={"GRPC_VERBOSITY": "NONE", **os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def say(self, line: str) -> None:
        """Writes a line to the process's standard input; one that has ended reads none."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def wait_ready(self, tell: Callable[[str], None]) -> bool:
        """Waits until the launched process is ready; False when it ended instead."""
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
        """Waits for the process to end; returns its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Asks the process to end, and kills it after a while."""
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
    """Runs one cluster until it is stopped."""

    def __init__(
        self,
        directory: ClusterDirectory,
        host: str,
        port: int,
        tell: Callable[[str], None],
        options: ChildOptions | None = None,
        routers: int = 1,
        gateway_port: int | None = None,
    ) -> None:
        self._directory, self._tell = directory, tell
        data = ["--data", str(directory.path)]
        (directory.path / "logs").mkdir(exist_ok=True)
        self._data, self._host, self._options = data, host, options or ChildOptions()
        self._shards = {number: self._shard(number) for number in directory.members()}
        self._routers = [self._router(number, port + number if port else 0) for number in range(routers)]
        self._gateways, self._gateway_port = list[Child](), gateway_port
        self._keepers = dict[Child, asyncio.Task[None]]()
        self._stopping, self._has_told = asyncio.Event(), True

    @property
    def router_address(self) -> str:
        """Address for clients; there may be more routers."""
        return self._routers[0].address

    @property
    def gateway_address(self) -> str | None:
        """Address for HTTP clients, if they may send."""
        return self._gateways[0].address if self._gateways else None

    def addresses(self) -> Iterator[tuple[str, str, int]]:
        """(name, address, process id) of every process."""
        for child in (*self._gateways, *self._routers, *self._shards.values()):
            yield child.name, child.address, child.pid

    def _shard(self, number: int) -> Child:
        return Child(
            f"shard {number}",
            "cdp_router.process.shard",
            [*self._data, "--shard", str(number), *self._options.shard],
            # The routers are on this machine: no other machine needs to reach a shard.
            self._host if is_loopback(self._host) else "127.0.0.1",
            0,
            self._directory.log_path(f"shard-{number}"),
        )

    def _router(self, number: int, port: int) -> Child:
        name = f"router {number}" if number else "router"
        log = self._directory.log_path(name.replace(" ", "-"))
        arguments = [*self._data, "--number", str(number), *self._options.router]
        return Child(name, "cdp_router.process.router", arguments, self._host, port, log)

    def _gateway(self, port: int) -> Child:
        """The HTTP gateway, started with the ports of the routers, which are known once they run."""
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host  # reaches a server that listens everywhere
        told = [part for router in self._routers for part in ("--router", f"{host}:{router.port}")]
        log = self._directory.log_path("gateway")
        return Child(
            "gateway",
            "cdp_router.process.gateway",
            [*self._data, *told, *self._options.router, *self._options.gateway],
            self._host,
            port,
            log,
        )

    def run(self, on_ready: Callable[[], None]) -> None:
        """Runs until SIGINT or SIGTERM; ClusterFailed if it cannot."""
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
            await asyncio.gather(*(gateway.stop() for gateway in self._gateways))
            await asyncio.gather(*(router.stop() for router in self._routers))
            await asyncio.gather(*(shard.stop() for shard in self._shards.values()))

    async def _start(self) -> None:
        # All together: a router that waits for the shards has loaded everything it needs by the time they are ready.
        await asyncio.gather(*(shard.launch() for shard in self._shards.values()))
        await asyncio.gather(*(router.launch(AFTER_SHARDS) for router in self._routers))
        await self._all_ready(list(self._shards.values()))
        self._tell_addresses()
        for router in self._routers:
            router.say(router.more_arguments[-1] if router.more_arguments else "{}")
        await self._all_ready(self._routers)
        if self._gateway_port is not None:
            self._gateways.append(self._gateway(self._gateway_port))
            await self._gateways[0].launch()
            await self._all_ready(self._gateways)

    async def _all_ready(self, children: Sequence[Child]) -> None:
        ready = await asyncio.gather(*(child.wait_ready(self._tell) for child in children))
        for child, is_ready in zip(children, ready, strict=True):
            if not is_ready:
                raise ClusterFailed(self._epitaph(child))

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Does `work` unless stopped before its end; True if it was done."""
        task, stopped = awaited(work), awaited(self._stopping.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            return False
        task.result()
        return True

    async def _watch(self) -> None:
        for child in (*self._gateways, *self._routers, *self._shards.values()):
            self._keepers[child] = awaited(self._keep(child))
        stopped = awaited(self._stopping.wait())
        try:
            while not stopped.done():
                tasks = {*self._keepers.values(), stopped}
                done, _ = await asyncio.wait(tasks, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopped}:
                    task.result()
                await self._follow_members()
        finally:
            for task in (*self._keepers.values(), stopped):
                task.cancel()

    async def _follow_members(self) -> None:
        """Starts shards that were added to the directory's members, stops those that were removed."""
        if not self._has_told:
            self._tell_addresses()
        try:
            members = self._directory.members()
        except DirectoryDamaged as error:
            self._tell(f"{error}; the shards stay unchanged")
            return
        for number in set(members) - set(self._shards):
            shard = self._shard(number)
            if not await shard.start(self._tell):
                self._tell(f"{self._epitaph(shard)}; the cluster continues without it")
                self._directory.set_members(set(members) - {number})
                continue
            self._shards[number] = shard
            self._keepers[shard] = awaited(self._keep(shard))
            self._tell(f"{shard.name} was added at {shard.address}")
            self._tell_addresses()
        for number in set(self._shards) - set(members):
            shard = self._shards.pop(number)
            self._tell_addresses()
            self._keepers.pop(shard).cancel()
            await shard.stop()
            self._tell(f"{shard.name} was removed; its directory is kept")

    def _tell_addresses(self) -> None:
        """Publishes the addresses of shards: in a file or, on a full disk, to starting routers, until there is room."""
        addresses = {number: shard.address for number, shard in self._shards.items()}
        try:
            self._directory.set_addresses(addresses)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            if self._has_told:
                self._tell(f"{self._directory.addresses_path} cannot be written ({error.strerror}); tried again soon")
            self._has_told, encoded = False, msgspec.json.encode({str(each): at for each, at in addresses.items()})
        else:
            self._has_told = True
        for router in self._routers:
            router.more_arguments = [] if self._has_told else ["--shards-at", encoded.decode()]

    async def _keep(self, child: Child) -> None:
        """Starts the child again whenever it ends."""
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
