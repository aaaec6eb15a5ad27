"""A shard's store in a process of its own, whose files can fail.

It is told batch numbers, `s` for a snapshot, `c` for cold columns ahead of one, or `power loss`, and writes a line for
each into a file: what was acknowledged, or the error. How it ends is how a shard ends: 75 when the store failed, killed
in the middle otherwise.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.errors import StorageFull, StoreError, StoreFailed
from cdp_store.ids import PartitionId
from cdp_store.outside import seams
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from tests.raw_records import Event, user
from tests.shards import KEY, batch_of

IDENTITY = ShardIdentity("process", 0, (0,))
EXIT_FAILED = 75


def numbers_of(batch: int) -> range:
    """The records of a batch: many and one in turn, so that one may still fit where many did not."""
    return range(batch * 50, batch * 50 + (50 if batch % 2 else 1))


def lose_power(files: FaultyFiles) -> None:
    """Forget what was not synced, and end this process at once."""
    files.crash()
    os.kill(os.getpid(), signal.SIGKILL)


class KillingFiles(FaultyFiles):
    """Files that let the machine lose power at the n-th operation: what was not synced is forgotten, then `kill -9`."""

    def __init__(self, operation: str, number: int) -> None:
        super().__init__()
        self._at = (operation, number)

    def strike(self, operation: str) -> int:
        found = super().strike(operation)
        if self.counts[self._at[0]] == self._at[1]:
            lose_power(self)
        return found


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is to go wrong: `kill` and `fail` name the n-th of an operation, `file_bytes` how large a file may grow."""

    kill: tuple[str, int] | None = None
    fail: Fault | None = None
    file_bytes: int = 0
    has_short_writes: bool = False  # the system writes at most 7 bytes at once


def serve(directory: Path, orders: Sequence[str], answers: Path, trouble: Trouble) -> None:
    """Do as ordered and end this process."""
    if trouble.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.file_bytes, trouble.file_bytes))
    if trouble.has_short_writes:
        whole = os.write
        seams.os.write = lambda descriptor, data: whole(descriptor, bytes(data[:7]))  # type: ignore[attr-defined]
    files = KillingFiles(*trouble.kill) if trouble.kill else FaultyFiles()
    if trouble.fail:
        files.plan(trouble.fail)
    with answers.open("w", buffering=1) as said:
        try:
            code = _serve(Store(directory, IDENTITY, KEY, files), files, orders, said)
        except StoreError as error:
            print(f"refused: {error}", file=said)
            code = 1
    os._exit(code)


def _serve(store: Store, files: FaultyFiles, orders: Sequence[str], said: TextIO) -> int:
    store.recover(lambda *_: None)
    for order in orders:
        try:
            if order == "s":
                store.snapshot(0)
            elif order == "c":
                store.write_cold()
            elif order == "power loss":
                lose_power(files)
            else:
                _commit(store, int(order))
        except StorageFull as error:
            print(f"full: {error}", file=said)
            continue
        except StoreFailed as error:
            print(f"failed: {error}", file=said)
            return EXIT_FAILED
        print(f"ok {order}", file=said)
    return 0


def _commit(store: Store, number: int) -> None:
    events = [Event(user(f"u{n % 3}"), "Step", n, {"n": n, "s": f"text {n}"}, f"m{n}") for n in numbers_of(number)]
    store.commit([Delivery(PartitionId(0), batch_of(events))])
