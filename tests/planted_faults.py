"""Protections of the store, each taken out in turn: how many crash schedules it takes until the simulation tells.

`python -m tests.planted_faults` prints the table; `make test-long` holds every fault to being found.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from cdp_store.errors import StorageFull, StoreFailed
from cdp_store.fuse import Fuse
from cdp_store.log.local import LocalLog
from cdp_store.partition.dedupe import BatchIds
from cdp_store.partition.partition import Partition
from cdp_store.snapshot import keeper, reader
from cdp_store.snapshot.keeper import ShardSnapshots
from cdp_store.snapshot.places import LocalPlace
from tests.simulation import run

Planted = AbstractContextManager[object]
SCHEDULES_MAX: Final = 3000


def _replaced(owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> Planted:
    """A method with another one in its place, made from it."""
    return patch.object(owner, name, make(getattr(owner, name)))


def _nothing(_: object) -> Callable[..., None]:
    return lambda *_, **__: None


def _log_is_not_synced() -> Planted:
    return _replaced(LocalLog, "sync", _nothing)


def _new_segment_has_no_name() -> Planted:
    def create(real: Callable[..., Any]) -> Callable[..., Any]:
        def without_directory(self: LocalLog, number: int) -> Any:
            with patch.object(self._files, "sync_directory", lambda _: None):
                return real(self, number)

        return without_directory

    return _replaced(LocalLog, "_create", create)


def _failed_append_stays() -> Planted:
    def undo(_: object) -> Callable[..., Any]:
        return lambda self, error: StorageFull(self._segments[-1].path, str(error))

    return _replaced(LocalLog, "_undo_write", undo)


def _torn_tail_stays() -> Planted:
    def opened(real: Callable[..., int]) -> Callable[..., int]:
        return lambda self, path, good, size: real(self, path, size, size)

    return _replaced(LocalLog, "_open_existing", opened)


def _failed_sync_is_tried_again() -> Planted:
    def sync(real: Callable[..., None]) -> Callable[..., None]:
        def again(self: LocalLog, work: Callable[[], None]) -> None:
            try:
                real(self, work)
            except StoreFailed:
                self.fuse = Fuse()

        return again

    return _replaced(LocalLog, "_sync", sync)


def _acknowledged_though_the_log_is_full() -> Planted:
    def append(real: Callable[..., None]) -> Callable[..., None]:
        def anyway(self: LocalLog, entries: Any, **options: Any) -> None:
            try:
                real(self, entries, **options)
            except StorageFull:
                return

        return anyway

    return _replaced(LocalLog, "append", append)


def _snapshot_files_are_not_synced() -> Planted:
    def write(_: object) -> Callable[..., None]:
        def unsynced(self: LocalPlace, name: str, data: Any) -> None:
            file = self._files.open_append(self._directory / name)
            file.truncate(0)
            file.write(data)
            file.close()

        return unsynced

    return _replaced(LocalPlace, "write", write)


def _snapshot_directory_is_not_synced() -> Planted:
    return _replaced(LocalPlace, "settle", _nothing)


def _manifest_is_not_synced() -> Planted:
    def publish(_: object) -> Callable[..., None]:
        def written(self: LocalPlace, name: str, data: bytes) -> None:
            self.write(name, data)  # type: ignore[arg-type]

        return written

    with_unsynced = _snapshot_files_are_not_synced()

    @contextmanager
    def both() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(_replaced(LocalPlace, "publish", publish))
            stack.enter_context(with_unsynced)
            yield

    return both()


def _log_is_trimmed_behind_the_newest() -> Planted:
    def positions(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda manifest: dict.fromkeys(real(manifest), 1 << 60)

    return _replaced(keeper, "positions", positions)


def _older_snapshot_loses_its_files() -> Planted:
    def prune(real: Callable[..., Any]) -> Callable[..., Any]:
        def too_much(self: ShardSnapshots, wanted: int) -> Any:
            kept = real(self, wanted)
            for name in {name for manifest in kept[1:] for name in manifest.files} - set(kept[0].files):
                self._place.remove(name)
            return kept

        return too_much

    return _replaced(ShardSnapshots, "_prune", prune)


def _checksums_of_snapshots_are_not_looked_at() -> Planted:
    def check(_: object) -> Callable[..., Any]:
        return lambda place, name, entry: place.read(name)

    @contextmanager
    def both() -> Iterator[None]:
        with _replaced(reader, "check_file", check), _replaced(keeper, "check_file", check):
            yield

    return both()


def _message_ids_are_forgotten_by_snapshots() -> Planted:
    def load(real: Callable[..., None]) -> Callable[..., None]:
        return lambda self, parts, ids, batches: real(self, parts, [], batches)

    return _replaced(Partition, "load", load)


def _batch_ids_are_forgotten_by_snapshots() -> Planted:
    def load(real: Callable[..., None]) -> Callable[..., None]:
        return lambda self, parts, ids, batches: real(self, parts, ids, [])

    return _replaced(Partition, "load", load)


def _batch_ids_are_not_looked_at() -> Planted:
    return _replaced(BatchIds, "get", _nothing)


def _defects_do_not_stop_the_store() -> Planted:
    return _replaced(Fuse, "whole", lambda _: lambda *_, **__: nullcontext())


def _purge_forgets_what_came_meanwhile() -> Planted:
    return _replaced(Partition, "_take_meanwhile", lambda real: lambda self: (real(self), [])[1])


FAULTS: Final[Mapping[str, Callable[[], Planted]]] = {
    name.removeprefix("_").replace("_", " "): plant
    for name, plant in list(globals().items())
    if callable(plant) and name.startswith("_") and getattr(plant, "__annotations__", {}) == {"return": "Planted"}
}


def schedules_to_find(plant: Callable[[], Planted], first: int, most: int = SCHEDULES_MAX) -> int | None:
    """How many schedules from a seed on until one fails, None if so many do not."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root, plant():
        for number in range(most):
            try:
                run(first + number, Path(root))
            except Exception:  # noqa: BLE001 - however it shows, it was found
                return number + 1
    return None


def main() -> None:
    """Print how many schedules each planted fault takes."""
    parser = argparse.ArgumentParser(description="How soon the simulation finds planted faults.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    for name, plant in FAULTS.items():
        if arguments.only and arguments.only not in name:
            continue
        started = time.process_time()
        found = schedules_to_find(plant, arguments.seed)
        print(f"{name}: {found} schedules, {time.process_time() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
