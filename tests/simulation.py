"""Seeded crash schedules of one shard in this process; `python -m tests.simulation --seconds 600` tells what fails.

A schedule is a life of several incarnations over one directory. Each sends batches (new ones, and again those whose
fate is unknown), seals, takes snapshots, purges files, and ends by a planned fault, a kill or a power loss, which keeps
any part of what was not synced. After each end the ledger of what was acknowledged is compared with what is there.
"""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np

from cdp_store.errors import FilesNotRemoved, SnapshotFailed, StorageFull, StoreFailed
from cdp_store.faulty_files import Fault, FaultyFiles
from cdp_store.ids import PartitionId
from cdp_store.log.sync_mode import SyncMode
from cdp_store.shard_directory import ShardIdentity
from cdp_store.store import Delivery, Store
from cdp_store.values import Kind
from cdp_store.view import PartitionView
from tests.raw_records import Event, user
from tests.shards import KEY, batch_of

IDENTITY = ShardIdentity("simulated", 0, (0, 1))
_CRASHES = 3  # of one schedule
_OPERATIONS = ("any", "write", "sync", "update", "rename", "remove", "sync_directory", "truncate", "open")


class Life:
    """One directory, what was sent to it and what was acknowledged."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.chance = directory, Random(seed)
        self.sent = dict[int, tuple[int, list[int]]]()  # batch -> (partition, records)
        self.acked = set[int]()
        self.records = 0

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
        store.close()

    def _incarnation(self) -> None:
        files = FaultyFiles()
        store = self._open(files)
        self._check(store)
        if self.chance.random() < 0.8:
            written = self.chance.choice([0, 0, 1, 7, 30, 200])
            error = self.chance.choice([errno.EIO, errno.ENOSPC])
            files.plan(Fault(self.chance.choice(_OPERATIONS), self.chance.randint(1, 25), error, written))
        with suppress(StoreFailed, SnapshotFailed, FilesNotRemoved, StorageFull):
            for _ in range(self.chance.randint(1, 12)):
                self._step(store)
        files.plan()
        with suppress(OSError):
            store.close()
        if self.chance.random() < 0.7:
            files.crash(self.chance)

    def _open(self, files: FaultyFiles) -> Store:
        store = Store(self.directory, IDENTITY, KEY, files, SyncMode.ALWAYS)
        store.recover(lambda *_: None)
        return store

    def _step(self, store: Store) -> None:
        what = self.chance.random()
        if what < 0.6:
            self._send(store, self._new_batch())
        elif what < 0.75 and self.sent:
            self._send(store, self.chance.choice(list(self.sent)))
        elif what < 0.88:
            store.maintain(self.chance.choice([0, 3]), 2)
        elif what < 0.97:
            store.snapshot(0)
        else:
            store.start_log_anew()
            store.purge_files(0)

    def _new_batch(self) -> int:
        batch, count = len(self.sent), self.chance.randint(1, 4)
        self.sent[batch] = (self.chance.randint(0, 1), list(range(self.records, self.records + count)))
        self.records += count
        return batch

    def _send(self, store: Store, batch: int) -> None:
        partition, numbers = self.sent[batch]
        events = [Event(user(f"u{n % 5}"), "Step", n, {"n": n, "s": f"text {n}"}, f"m{n}") for n in numbers]
        batch_id = b"b%d" % batch if batch % 2 else b""
        with suppress(StorageFull):
            [outcome] = store.commit([Delivery(PartitionId(partition), batch_of(events, batch_id))])
            expected = (0, len(numbers)) if batch in self.acked else (outcome.accepted, len(numbers) - outcome.accepted)
            assert (outcome.accepted, outcome.duplicates) == expected, f"batch {batch} was taken twice"
            self.acked.add(batch)

    def _check(self, store: Store) -> None:
        """What is there: acknowledged batches once, others once or not at all, and none of them in part."""
        for number, partition in store.partitions.items():
            partition.validate()
            found = Counter(numbers_in(partition.capture()))
            for batch, (home, numbers) in self.sent.items():
                if home != number:
                    continue
                counts = {found.pop(n, 0) for n in numbers}
                assert counts == {1} or (counts == {0} and batch not in self.acked), f"batch {batch}: {counts}"
            assert not found, f"records nobody sent: {found}"


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


def main() -> int:
    """Run schedules for a time, or one seed."""
    parser = argparse.ArgumentParser(description="Crash schedules of one shard.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="run this one only")
    arguments = parser.parse_args()
    first = int(time.time()) * 1000 if arguments.seed is None else arguments.seed
    started, done, failed = time.monotonic(), 0, list[int]()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        for seed in range(first, first + (1 if arguments.seed is not None else 1 << 40)):
            try:
                run(seed, Path(root))
            except Exception:  # noqa: BLE001 - whatever it is, it is told with its seed
                failed.append(seed)
                print(f"seed {seed} failed:\n{traceback.format_exc()}")
            done += 1
            if time.monotonic() - started > arguments.seconds:
                break
    minutes = (time.monotonic() - started) / 60
    told = f"{done} schedules of {_CRASHES} crashes from seed {first} on, {done / minutes:,.0f} a minute"
    print(f"{told}, {len(failed)} failed {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
