"""Seeded crash schedules of one shard in this process; `python -m tests.simulation --seconds 600` tells what fails.

A schedule is a life of several incarnations over one directory. Each sends batches (new ones, and again those whose
fate is unknown), erases profiles, seals, purges memory, writes cold columns ahead, takes snapshots, purges files, also
in three threads beside each other, which change over where a lock is taken or given back and at operations on files,
always in the same way for a seed. It ends by a planned fault, a defect, a kill or a power loss, which keeps any part of
what was not synced; between two of them a bit of the newest snapshot may turn over. After each end the ledger of what
was acknowledged is compared with what is there, and at the very end every rule of the structures is checked. Seeds are
spread over the cores of the machine.
"""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

from cdp_store.directory.shard_directory import ShardIdentity, snapshots_path
from cdp_store.errors import FilesNotRemoved, SnapshotDamaged, SnapshotFailed, StorageFull, StoreFailed
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.log.sync_mode import SyncMode
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.view import PartitionView
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import OsFiles
from cdp_store.records.records import RecordBatch
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from cdp_store.snapshot.manifest import manifest_name
from cdp_store.snapshot.places import LocalPlace
from cdp_store.snapshot.reader import read_manifest, snapshot_numbers
from cdp_store.values import Kind
from tests.raw_records import Event, user
from tests.shards import KEY, batch_of
from tests.stepping import Interleaving, by_chance, step, step_through

IDENTITY = ShardIdentity("simulated", 0, (0, 1))
_CRASHES = 3  # of one schedule
_SEEDS_AT_ONCE = 20
_SEGMENT_BYTES = 2_000  # some batches: segments are begun and trimmed all the time
_STEPS_MAX = 12  # of one incarnation
# How often; each life goes without some of them, so that what is rare together is not rare in all.
_STEPS = {"new": 50, "again": 15, "erase": 8, "seal": 15, "cold": 8, "snapshot": 20, "purge": 6, "beside": 20}
_COMMITTED = ("new", "again", "erase")  # by the thread that writes the log
_STOPS = (StoreFailed, SnapshotFailed, FilesNotRemoved, StorageFull)
_LEFT_OUT = 0.4
_OPERATIONS = ("any", "write", "sync", "update", "rename", "remove", "sync_directory", "truncate", "open")


class Defect(MemoryError):
    """What a change of memory raises once in some incarnations."""


class SteppedFiles(FaultyFiles):
    """Every operation is a point where threads may change over."""

    def strike(self, operation: str) -> int:
        step()
        return super().strike(operation)


class Life:
    """One directory, what was sent to it and what was acknowledged."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.chance = directory, Random(seed)
        self.sent = dict[int, tuple[int, range, RecordBatch]]()  # by batch: partition, numbers of the records, they
        self.acked = set[int]()
        self.records = self.visitors = 0
        left_out = {what for what in _STEPS if self.chance.random() < _LEFT_OUT} - {"new"}
        self.steps = {what: often for what, often in _STEPS.items() if what not in left_out}

    def run(self, incarnations: int) -> None:
        """Live so many times, then once more without faults."""
        for _ in range(incarnations):
            self._incarnation()
        store = self._open(FaultyFiles())
        self._check(store)
        for batch in self.sent:
            self._send(store, batch)
        self._check(store)
        assert self.acked == set(self.sent)
        for partition in store.partitions.values():
            partition.validate()
        store.close()

    def _incarnation(self) -> None:
        if self.chance.random() < 0.4:
            self._damage_newest_snapshot()
        files = SteppedFiles()
        store = self._open(files)
        self._check(store)
        if self.chance.random() < 0.8:
            written = self.chance.choice([0, 0, 1, 7, 30, 200])
            error = self.chance.choice([errno.EIO, errno.ENOSPC])
            files.plan(Fault(self.chance.choice(_OPERATIONS), self.chance.randint(1, 25), error, written))
        with self._maybe_a_defect(), suppress(*_STOPS):
            for _ in range(self.chance.randint(1, _STEPS_MAX)):
                [what] = self.chance.choices(tuple(self.steps), tuple(self.steps.values()))
                with suppress(Defect):  # what it struck stops the store, or nothing was changed
                    self._step(store, what)
        files.plan()
        with suppress(OSError):
            store.close()
        if self.chance.random() < 0.7:
            files.crash(self.chance)

    def _maybe_a_defect(self) -> AbstractContextManager[object]:
        """Now and then one of the next changes of memory raises, before it or after it is done."""
        if self.chance.random() < 0.75:
            return nullcontext()
        left, after, real = self.chance.randint(1, 8), self.chance.random() < 0.5, PartitionMemory.apply

        def apply(memory: PartitionMemory, *arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left or after:
                real(memory, *arguments)
            if not left:
                raise Defect

        return patch.object(PartitionMemory, "apply", apply)

    def _damage_newest_snapshot(self) -> None:
        """Turn a bit over in what only the newest of two snapshots has: the older one must do."""
        place = LocalPlace(snapshots_path(self.directory), OsFiles())
        newest = snapshot_numbers(place)[:2]
        if len(newest) < 2:
            return
        try:
            files, older = (read_manifest(place, number).files for number in newest)
        except SnapshotDamaged:
            return  # it was damaged before, and no other has taken its place yet
        path = snapshots_path(self.directory) / self.chance.choice(
            [manifest_name(newest[0]), *(name for name in sorted(files) if name not in older)]
        )
        content = bytearray(path.read_bytes())
        # Before that a manifest says its version: a newer one is refused, not passed over.
        content[self.chance.randrange(len(b'{"version":3,'), len(content))] ^= 1 << self.chance.randrange(8)
        path.write_bytes(content)

    def _open(self, files: FaultyFiles) -> Store:
        store = Store(self.directory, IDENTITY, KEY, files, SyncMode.ALWAYS, _SEGMENT_BYTES)
        store.recover(lambda *_: None)
        for partition in store.partitions.values():
            step_through(partition)
        return store

    def _step(self, store: Store, what: str) -> None:
        match what:
            case "again" if self.sent:
                self._send(store, self.chance.choice(list(self.sent)))
            case "new" | "again":
                self._send(store, self._new_batch())
            case "erase":
                self._erase(store)
            case "beside":
                self._beside(store)
            case "seal":
                store.maintain(self.chance.choice([0, 3]), 2)
            case "cold":
                store.write_cold()
            case "snapshot":
                store.snapshot(0)
            case "purge":
                store.start_log_anew()
                store.purge_files(0)

    def _beside(self, store: Store) -> None:
        """What three threads of a shard do at once: commit, maintain, and take snapshots."""
        committed = [self.chance.choice(_COMMITTED) for _ in range(self.chance.randint(1, 4))]
        works = (
            lambda: [self._step(store, what) for what in committed],
            lambda: [store.purge(), store.maintain(0, 2), store.purge()],
            lambda: self._step(store, self.chance.choice(("snapshot", "cold"))),
        )
        stopped = Interleaving(by_chance(self.chance)).run(*(lambda work=work: _stopped_by(work) for work in works))
        for error in filter(None, stopped):
            raise error

    def _erase(self, store: Store) -> None:
        """Somebody comes and is forgotten: those behind get other rows when memory is purged."""
        number = PartitionId(self.chance.randint(0, 1))
        self.visitors += 1
        visitor = user(f"visitor {self.visitors}")
        store.commit([Delivery(number, batch_of([Event(visitor, "Visit", 1)]))])
        _, erased = store.erase(number, [encode_identifier(*visitor)])
        assert erased == 1

    def _new_batch(self) -> int:
        batch, count = len(self.sent), self.chance.randint(1, 4)
        numbers = range(self.records, self.records + count)
        self.sent[batch] = (self.chance.randint(0, 1), numbers, _records(batch, numbers))
        self.records += count
        return batch

    def _send(self, store: Store, batch: int) -> None:
        partition, numbers, records = self.sent[batch]
        with suppress(StorageFull):
            [outcome] = store.commit([Delivery(PartitionId(partition), records)])
            expected = (0, len(numbers)) if batch in self.acked else (outcome.accepted, len(numbers) - outcome.accepted)
            assert (outcome.accepted, outcome.duplicates) == expected, f"batch {batch} was taken twice"
            self.acked.add(batch)

    def _check(self, store: Store) -> None:
        """What is there: acknowledged batches once, others once or not at all, and none of them in part."""
        for number, partition in store.partitions.items():
            found = Counter(numbers_in(partition.capture()))
            for batch, (home, numbers, _) in self.sent.items():
                if home != number:
                    continue
                counts = {found.pop(n, 0) for n in numbers}
                assert counts == {1} or (counts == {0} and batch not in self.acked), f"batch {batch}: {counts}"
            assert not found, f"records nobody sent: {found}"


def _stopped_by(work: Any) -> Exception | None:
    """What ended it, of that which may."""
    try:
        work()
    except (*_STOPS, Defect) as error:
        return error
    return None


def _records(batch: int, numbers: Sequence[int]) -> RecordBatch:
    """What a batch brings: told from what came before by the id of the batch, or of each record, or of both."""
    ids = ["" if batch % 4 == 1 else f"m{n}" for n in numbers]
    events = [
        Event(user(f"u{n % 5}"), "Step", n, {"n": n, "s": f"text {n}"}, message_id)
        for n, message_id in zip(numbers, ids, strict=True)
    ]
    return batch_of(events, b"b%d" % batch if batch % 2 else b"")


def numbers_in(view: PartitionView) -> list[int]:
    """The numbers of all records of a partition."""
    name = view.schema.events.get("Step")
    if name is None:
        return []
    key = view.schema.properties["n"]
    parts = [chunk.columns[key, Kind.INT].integers() for chunk in view.event_chunks(name)]
    return np.concatenate(parts).tolist() if parts else []


def run(seed: int, root: Path) -> None:
    """One schedule; AssertionError or an error of the store when a promise is broken."""
    directory = root / str(seed)
    directory.mkdir()
    try:
        Life(directory, seed).run(_CRASHES)
    finally:
        shutil.rmtree(directory)


def run_some(first: int) -> list[tuple[int, str]]:
    """A few schedules from a seed on: those that failed, and how."""
    failed = list[tuple[int, str]]()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        for seed in range(first, first + _SEEDS_AT_ONCE):
            try:
                run(seed, Path(root))
            except Exception:  # noqa: BLE001 - whatever it is, it is told with its seed
                failed.append((seed, traceback.format_exc()))
    return failed


def run_for(first: int, seconds: float, jobs: int) -> Iterator[list[tuple[int, str]]]:
    """What `run_some` tells, lot after lot, until the time is over."""
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as workers:
        firsts = (first + lot * _SEEDS_AT_ONCE for lot in count())
        waiting = [workers.submit(run_some, next(firsts)) for _ in range(2 * jobs)]
        while waiting:
            yield waiting.pop(0).result()
            if time.monotonic() - started < seconds:
                waiting.append(workers.submit(run_some, next(firsts)))


def main() -> int:
    """Run schedules for a time, or one seed."""
    parser = argparse.ArgumentParser(description="Crash schedules of one shard.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that run schedules")
    parser.add_argument("--seed", type=int, help="run this one only")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        with tempfile.TemporaryDirectory() as root:
            run(arguments.seed, Path(root))
        return 0
    first = int(time.time()) * 1000
    started, done, failed = time.monotonic(), 0, list[int]()
    for lot in run_for(first, arguments.seconds, arguments.jobs):
        for seed, trace in lot:
            failed.append(seed)
            print(f"seed {seed} failed:\n{trace}")
        done += _SEEDS_AT_ONCE
    minutes = (time.monotonic() - started) / 60
    told = f"{done} schedules of {_CRASHES} crashes from seed {first} on, {done / minutes:,.0f} a minute"
    print(f"{told}, {len(failed)} failed {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
