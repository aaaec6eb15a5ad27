"""Snapshots of one shard: on demand, at intervals, checked, purged of erased profiles."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from cdp.v1 import admin_pb2, shard_pb2

from cdp_router.background import Background
from cdp_router.deadline import monotonic_ms
from cdp_router.errors import RequestInvalid
from cdp_store.errors import StoreError
from cdp_store.limits import COLD_LOG_BYTES, COLD_LOG_BYTES_IDLE
from cdp_store.outside.seams import Clock
from cdp_store.shard.store import Store
from cdp_store.snapshot.keeper import Taken, copy_snapshot
from cdp_store.snapshot.places import place_at

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_NICENESS: Final = 10  # a tenth of the share of a thread that is not nice
_IDLE_SECONDS: Final = 1.0
_DESTINATION_BYTES_MAX: Final = 4096  # the longest path of any system


class Snapshots:
    """Writes and checks snapshots of a store, one at a time, in a thread of its own."""

    def __init__(self, store: Store, clock: Clock, background: Background | None = None) -> None:
        self._store, self._clock, self._background = store, clock, background or Background()
        # One thread, so that snapshots, purges of files, copies for moves and scans never run at the same time.
        self._thread = ThreadPoolExecutor(1, "snapshot", initializer=_step_back)
        self._is_regular = False  # True if snapshots are written at intervals
        self._writing_cold: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def take_snapshot(self, destination: str = "") -> admin_pb2.ShardSnapshot:
        """Writes a snapshot, and copies it if a destination is given."""
        check_destination(destination)
        work = partial(self._take, destination)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def verify(self) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        """Reads every file of the snapshots."""
        work = self._store.verify_snapshots
        found = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        shard = self._store.identity.shard
        problems = [
            admin_pb2.SnapshotProblem(shard=shard, number=each.number, file=each.file, problem=each.problem)
            for each in found.problems
        ]
        result = admin_pb2.VerifySnapshotsResponse(
            snapshots=found.snapshots, files=found.files, bytes=found.bytes, problems=problems
        )
        return shard_pb2.ShardServiceVerifySnapshotsResponse(result=result)

    async def take_every(self, seconds: float) -> None:
        """Writes a snapshot at intervals, whenever anything was logged since the last; runs until cancelled."""
        taken, self._is_regular = -1, True
        while True:
            await asyncio.sleep(seconds)
            logged = sum(partition.sequence for partition in self._store.partitions.values())
            if logged == taken:
                continue
            try:
                await self.take_snapshot()
                taken = logged
            except StoreError as error:
                _LOG.error("%s; trying again in %g s", error, seconds)

    def write_cold_soon(self) -> None:
        """Copies cold columns from the log ahead of the next snapshot: now if much was logged since the last time, and
        the rest once nothing has arrived for a while. It does nothing if snapshots are written on demand only: there
        may never be one that names the files."""
        if not self._is_regular:
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._write_cold, COLD_LOG_BYTES_IDLE)
        self._write_cold(COLD_LOG_BYTES)

    async def purge_files(self) -> admin_pb2.ShardPurge:
        """The second step of a purge of the shard's files; the first is `Store.start_log_anew`, between commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._purge_files)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs work that must not run concurrently with a snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Waits for the running work."""
        if self._idle is not None:
            self._idle.cancel()
        if self._writing_cold is not None:
            await asyncio.gather(self._writing_cold, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _write_cold(self, bytes_min: int) -> None:
        is_due = self._store.cold_backlog_bytes >= bytes_min
        if is_due and (self._writing_cold is None or self._writing_cold.done()):
            self._writing_cold = self._background.begin("cold columns", self._run_cold(bytes_min))

    async def _run_cold(self, bytes_min: int) -> None:
        def work() -> tuple[str, ...]:
            # A snapshot that was under way may have done so already.
            return self._store.write_cold() if self._store.cold_backlog_bytes >= bytes_min else ()

        try:
            problems = await self.run(work)
        except StoreError as error:
            problems = (str(error),)
        if problems:
            _LOG.error("cold columns wait for the next snapshot: %s", "; ".join(problems))

    def _take(self, destination: str) -> admin_pb2.ShardSnapshot:
        started, owned = monotonic_ms(), self._store.holdings.owned()
        # An unusable destination is reported before any work is done.
        target = place_at(destination, f"shard-{self._store.identity.shard}/snapshots") if destination else None
        taken, removed = self._store.snapshot(self._clock.now_ms())
        if target is not None:
            copy_snapshot(self._store.snapshot_place, target, taken.number)
        told = self._told(taken, removed, monotonic_ms() - started)
        # A partition on its way in, or out, is in the snapshot too, but may have more elsewhere.
        told.partitions.extend(sorted(set(owned) & set(taken.partitions)))
        return told

    def _purge_files(self) -> admin_pb2.ShardPurge:
        started = monotonic_ms()
        done = self._store.purge_files(self._clock.now_ms())
        return admin_pb2.ShardPurge(
            shard=self._store.identity.shard,
            snapshot=self._told(done.taken, done.segments_removed, monotonic_ms() - started),
            snapshots_removed=done.taken.snapshots_removed,
            untouched=map(str, done.untouched),
        )

    def _told(self, taken: Taken, segments_removed: int, milliseconds: float) -> admin_pb2.ShardSnapshot:
        for problem in taken.problems:
            _LOG.error("snapshot %d lacks some cold columns: %s", taken.number, problem)
        _LOG.info("snapshot %d: %d bytes in %d files", taken.number, taken.bytes_written, taken.files_written)
        return admin_pb2.ShardSnapshot(
            shard=self._store.identity.shard,
            number=taken.number,
            files_written=taken.files_written,
            bytes_written=taken.bytes_written,
            files_shared=taken.files_shared,
            bytes_shared=taken.bytes_shared,
            log_segments_removed=segments_removed,
            milliseconds=milliseconds,
        )


def _step_back() -> None:
    """Lets threads that answer questions or accept batches go first while the cores are busy."""
    if sys.platform == "linux":  # on other systems a process has one priority for all of its threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def check_destination(destination: str) -> None:
    """Raises RequestInvalid for anything but a path or URI."""
    if len(destination.encode()) > _DESTINATION_BYTES_MAX or not destination.isprintable():
        problem = f"must be a path or a URI of at most {_DESTINATION_BYTES_MAX} bytes of printable text"
        raise RequestInvalid("destination", problem)
