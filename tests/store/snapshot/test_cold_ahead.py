"""Cold columns written ahead of the snapshot that will name them."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cdp_store.directory.shard_directory import log_path, snapshots_path
from cdp_store.errors import SnapshotFailed
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.limits import SNAPSHOT_SMALL_FILES_MAX
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.shard.store import Store
from cdp_store.snapshot.cold.log_reading import LogReading
from cdp_store.snapshot.reader import read_manifest, snapshot_numbers
from tests.raw_records import Event, user
from tests.shards import KEY, without_log
from tests.store.snapshot.test_cold import IDENTITY, deliver, read

ANN = user("ann")
_SEGMENT_BYTES = 500  # a few batches


@contextmanager
def opened(directory: Path, files: Files | None = None) -> Iterator[Store]:
    """A recovered store whose log has many segments, closed at the end."""
    store = Store(directory, IDENTITY, KEY, files or OsFiles(), SyncMode.ALWAYS, _SEGMENT_BYTES)
    try:
        store.recover(lambda *_: None)
        yield store
    finally:
        store.close()


def send(store: Store, first: int, count: int) -> None:
    for number in range(first, first + count):
        deliver(store, [Event(ANN, "View", number, {}, f"m{number}")], number, number % 2)


def ids(store: Store) -> list[str]:
    """The message ids of all rows, in order of arrival."""
    rows = [row for partition in (0, 1) for row in read(store, ANN, partition)]
    return [row[5] for row in sorted(rows, key=lambda row: row[3])]


def sent(count: int) -> list[str]:
    return [f"m{number}" for number in range(count)]


def cold_files(store: Store) -> set[str]:
    """The cold files that the newest snapshot names."""
    manifest = read_manifest(store.snapshot_place, snapshot_numbers(store.snapshot_place)[0])
    return {name for entry in manifest.partitions for name in entry.cold}


def test_a_snapshot_names_what_was_written_ahead_and_writes_only_the_rest(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        send(store, 0, 4)
        assert store.cold_backlog_bytes > 0
        assert store.write_cold() == ()
        assert store.cold_backlog_bytes == 0
        ahead = {path.name for path in snapshots_path(tmp_path).iterdir()}
        assert len(ahead) == 2
        taken = store.snapshot(0)[0]
        assert cold_files(store) == ahead
        assert taken.files_shared == 2
        send(store, 4, 2)
        store.write_cold()
        send(store, 6, 2)
        store.snapshot(0)
        assert len(cold_files(store) - ahead) == 4
        assert ids(store) == sent(8)
    without_log(tmp_path, IDENTITY)
    with opened(tmp_path) as store:
        assert ids(store) == sent(8)
        assert store.verify_snapshots().problems == []


def test_many_small_ones_become_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(3 * SNAPSHOT_SMALL_FILES_MAX):
            send(store, 2 * number, 2)
            assert store.write_cold() == ()
        store.snapshot(0)
        assert len(cold_files(store)) <= 2 * SNAPSHOT_SMALL_FILES_MAX
        assert {path.name for path in snapshots_path(tmp_path).glob("*cold*")} == cold_files(store)
        assert ids(store) == sent(6 * SNAPSHOT_SMALL_FILES_MAX)


@pytest.mark.parametrize("has_power_loss", [False, True])
def test_rows_01_06_and_24_stopped_at_any_step_no_snapshot_names_a_file_that_is_not_whole(
    tmp_path: Path, has_power_loss: bool
) -> None:
    with opened(tmp_path / "0") as store:
        send(store, 0, 4)
        store.snapshot(0)
        send(store, 4, 4)
    number, finished = 0, False
    while not finished:
        number += 1
        directory, files = tmp_path / str(number), FaultyFiles()
        shutil.copytree(tmp_path / "0", directory)
        with opened(directory, files) as store:
            files.plan(Fault("any", number, errno.ENOSPC, written=9))
            with suppress(SnapshotFailed):
                store.write_cold()
            finished = not files.struck
            files.plan()
            if not has_power_loss:
                assert store.snapshot(0)[0].problems == (), "what failed is done again"
                assert store.verify_snapshots().problems == []
        if has_power_loss:
            files.crash()
        with opened(directory) as store:
            assert store.verify_snapshots().problems == []
            assert ids(store) == sent(8)
            store.snapshot(0)
            assert ids(store) == sent(8)
            whole = {name for name in cold_files(store) if (snapshots_path(directory) / name).stat().st_size > 9}
            assert whole == cold_files(store)
    assert number == 9, "two files were opened, emptied, written and synced"


def test_what_was_read_of_the_log_is_not_looked_at_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        send(store, 0, 6)
        assert store.write_cold() == ()
        for path in sorted(log_path(tmp_path).glob("*.cdplog"))[:-1]:
            path.write_bytes(b"not a segment".ljust(path.stat().st_size, b"\0"))
        send(store, 6, 6)
        assert store.write_cold() == ()
        taken = store.snapshot(0)[0]
        assert taken.problems == ()


def test_a_reading_goes_on_behind_records_that_the_one_before_left_out(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        send(store, 0, 8)
    reading, (even, odd) = LogReading(log_path(tmp_path)), (PartitionId(0), PartitionId(1))
    seen = list[tuple[int, int]]()
    start = {even: 0, odd: 0}
    for end in ({even: 4, odd: 1}, {even: 4, odd: 3}, {even: 4, odd: 4}):
        with reading.rows(start, end) as source:  # type: ignore[arg-type]
            for partition, table in source.tables():
                seen.extend((int(partition), row) for row in table.column("sequence").to_pylist())
            assert source.problems == []
        start = end
    assert sorted(seen) == [(partition, sequence) for partition in (0, 1) for sequence in (1, 2, 3, 4)]


def test_a_log_that_cannot_be_read_leaves_it_to_the_snapshot_to_tell(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        send(store, 0, 2)
        assert store.write_cold() == ()
        send(store, 2, 4)
        path = next(path for path in log_path(tmp_path).glob("*.cdplog") if b"m3" in path.read_bytes())
        content = bytearray(path.read_bytes())
        content[content.index(b"m3")] ^= 8
        path.write_bytes(content)
        [problem] = store.write_cold()
        assert path.name in problem
        [problem] = store.snapshot(0)[0].problems
        assert path.name in problem
        assert ids(store) == ["m0", "m1", "m2", "m4", "m5"]


def test_who_was_erased_after_it_is_in_no_file_a_snapshot_names(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        send(store, 0, 2)
        store.write_cold()
        store.erase(PartitionId(0), [encode_identifier(*ANN)])
        store.snapshot(0)
        assert [row[5] for row in read(store, ANN, 0)] == []
        assert [row[5] for row in read(store, ANN, 1)] == ["m1"]
        contents = [path.read_bytes() for path in snapshots_path(tmp_path).glob("*p0000-cold*")]
        assert not any(b"uann" in content for content in contents)
