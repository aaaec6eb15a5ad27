"""A store over its log: what was acknowledged is there after any restart, exactly once."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cdp_store.shard.admission
import cdp_store.shard.store
from cdp_store.directory.shard_directory import ShardIdentity, log_path
from cdp_store.errors import (
    BatchTooLarge,
    DirectoryInUse,
    DirectoryMismatch,
    LogCorrupt,
    StorageFull,
    StoreError,
    StoreFailed,
)
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_RESERVE_BYTES
from cdp_store.log.format import LogEntry, RecordKind
from cdp_store.log.local import LocalLog
from cdp_store.log.position import Position, reset_position
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.shard.admission import Delivery, Outcome
from cdp_store.shard.salvaging import salvage_shard
from cdp_store.shard.store import Store
from tests import strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import KEY, batch_of
from tests.store.contents import Contents, expected_contents, read_contents
from tests.store.log.test_log_format import entry, replayed, starts

ANN, BOB = user("ann"), user("bob")
IDENTITY = ShardIdentity("test", 0, (0, 1))


@contextmanager
def opened(directory: Path, files: Files | None = None) -> Iterator[Store]:
    """A recovered store, closed at the end."""
    store = Store(directory, IDENTITY, KEY, files or OsFiles())
    try:
        store.recover(lambda *_: None)
        yield store
    finally:
        store.close()


def deliver(store: Store, records: Sequence[Record], batch_id: bytes = b"", partition: int = 0) -> Outcome:
    (outcome,) = store.commit([Delivery(PartitionId(partition), batch_of(records, batch_id))])
    return outcome


def contents(store: Store, partition: int = 0) -> Contents:
    held = store.partitions[PartitionId(partition)]
    return read_contents(held.capture())


@given(st.lists(st.tuples(strategies.records(12), st.integers(0, 1)), max_size=5), st.booleans())
@settings(max_examples=25)
def test_a_store_answers_the_same_after_a_restart(batches: list[tuple[list[Record], int]], maintain: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        records: dict[int, list[Record]] = {0: [], 1: []}
        with opened(Path(directory)) as store:
            for batch, partition in batches:
                deliver(store, batch, partition=partition)
                records[partition] += batch
                if maintain:
                    store.maintain(0)
            before = [contents(store, partition) for partition in (0, 1)]
            sequences = [store.partitions[PartitionId(partition)].sequence for partition in (0, 1)]
        with opened(Path(directory)) as store:
            assert [contents(store, partition) for partition in (0, 1)] == before
            assert before == [expected_contents(records[partition]) for partition in (0, 1)]
            assert [store.partitions[PartitionId(partition)].sequence for partition in (0, 1)] == sequences


def test_row_02_a_log_torn_at_any_byte_of_its_last_records_keeps_the_others_whole_and_goes_on(tmp_path: Path) -> None:
    groups = [[Event(ANN, "View", number, {"n": number, "s": str(number)})] for number in range(4)]
    with opened(tmp_path) as store:
        for group in groups:
            deliver(store, group)
    (path,) = (tmp_path / "log").glob("*.cdplog")
    whole = path.read_bytes()
    offsets = starts(replayed(tmp_path / "log"))
    for size in range(offsets[1], len(whole)):
        path.write_bytes(whole[:size])
        reset_position(path.parent, Position(1, offsets[1]), OsFiles())
        complete = sum(offset <= size for offset in offsets[1:])
        with opened(tmp_path) as store:
            kept = [event for group in groups[:complete] for event in group]
            assert contents(store).events == expected_contents(kept).events
            if (size - offsets[1]) % 50 == 0:
                deliver(store, [Event(BOB, "Buy", 9)])
                with_new = expected_contents([*kept, Event(BOB, "Buy", 9)])
        if (size - offsets[1]) % 50 == 0:
            with opened(tmp_path) as store:
                assert contents(store) == with_new


def test_recover_tells_how_much_was_cut(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 1)])
    (path,) = (tmp_path / "log").glob("*.cdplog")
    path.write_bytes(path.read_bytes() + b"torn")
    store = Store(tmp_path, IDENTITY, KEY, OsFiles())
    assert store.recover(lambda *_: None).bytes_cut == 4
    store.close()


def test_damage_in_the_middle_keeps_the_store_from_starting(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(3):
            deliver(store, [Event(ANN, "View", number)])
    (path,) = (tmp_path / "log").glob("*.cdplog")
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(LogCorrupt) as caught, opened(tmp_path):
        pass
    assert (caught.value.path, caught.value.offset) == (path, 16)
    with pytest.raises(LogCorrupt), opened(tmp_path):  # and the lock was given free
        pass


# --------------------------------------------------------------------------------------------------------- exactly once


def test_a_batch_id_seen_again_changes_nothing_across_restarts(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = deliver(store, [Event(ANN, "View", 1)], b"b1")
        deliver(store, [Event(ANN, "View", 2)], b"b2")
        again = deliver(store, [Event(ANN, "View", 1)], b"b1")
        assert (first.sequence, first.accepted, again.sequence, again.accepted, again.duplicates) == (1, 1, 1, 0, 1)
    with opened(tmp_path) as store:
        again = deliver(store, [Event(ANN, "View", 2)], b"b2")
        assert (again.sequence, again.accepted, again.duplicates) == (2, 0, 1)
        assert len(contents(store).events["View"][ANN]) == 2


def test_a_message_id_seen_again_changes_nothing_across_restarts(tmp_path: Path) -> None:
    records = [Event(ANN, "View", 1, {}, "m1"), Event(ANN, "View", 2, {}, "m2"), Change(ANN, 3, {"a": 1}, "m3")]
    with opened(tmp_path) as store:
        deliver(store, records)
        assert deliver(store, [*records, Event(ANN, "View", 4, {}, "m4")]).duplicates == 3
    with opened(tmp_path) as store:
        before = contents(store)
        outcome = deliver(store, records)
        assert (outcome.accepted, outcome.duplicates, outcome.sequence) == (0, 3, 2)
        assert contents(store) == before
        assert [ts for ts, _ in before.events["View"][ANN]] == [1, 2, 4]


def test_repetitions_inside_one_commit_group_are_taken_once(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        batches = [
            batch_of([Event(ANN, "View", 1, {}, "m1")], b"b1"),
            batch_of([Event(ANN, "View", 1, {}, "m1")], b"b1"),
            batch_of([Event(ANN, "View", 1, {}, "m1"), Event(ANN, "View", 2, {}, "m2")], b"b2"),
        ]
        outcomes = store.commit([Delivery(PartitionId(0), batch) for batch in batches])
        assert [(o.sequence, o.accepted, o.duplicates) for o in outcomes] == [(1, 1, 0), (1, 0, 1), (2, 1, 1)]
        assert len(contents(store).events["View"][ANN]) == 2


def test_partitions_count_and_deduplicate_on_their_own(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        batch = batch_of([Event(ANN, "View", 1, {}, "m1")], b"b1")
        outcomes = store.commit([Delivery(PartitionId(partition), batch) for partition in (0, 1)])
        assert [(o.sequence, o.accepted) for o in outcomes] == [(1, 1), (1, 1)]


def test_an_empty_commit_and_an_empty_batch_write_nothing(tmp_path: Path) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        files.plan()
        assert store.commit([]) == []
        assert deliver(store, []).sequence == 0
        assert files.counts["any"] == 0


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("written", [0, 1, 30, 10_000])
def test_a_full_disk_keeps_nothing_of_the_group_and_reads_and_later_writes_go_on(
    tmp_path: Path, error: int, written: int
) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        deliver(store, [Event(ANN, "View", 1, {}, "m1")], b"b1")
        files.plan(Fault("write", 1, error, written))
        with pytest.raises(StorageFull) as caught:
            store.commit(
                [
                    Delivery(PartitionId(0), batch_of([Event(ANN, "View", 2, {}, "m2")], b"b2")),
                    Delivery(PartitionId(1), batch_of([Event(BOB, "View", 2, {}, "m2")], b"b2")),
                ]
            )
        assert caught.value.path.suffix == ".cdplog"
        assert contents(store) == expected_contents([Event(ANN, "View", 1)])
        outcome = deliver(store, [Event(ANN, "View", 2, {}, "m2")], b"b2")
        assert (outcome.sequence, outcome.accepted) == (2, 1), "the same batch may be sent again"
    with opened(tmp_path) as store:
        assert contents(store) == expected_contents([Event(ANN, "View", 1), Event(ANN, "View", 2)])
        assert contents(store, 1) == Contents()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("sync", 1, errno.EIO),
        Fault("sync", 1, errno.ENOSPC),
        Fault("write", 1, errno.EIO, 20),
    ],
    ids=lambda fault: f"{fault.operation} {errno.errorcode[fault.error]}",
)
def test_after_a_failed_write_or_sync_nothing_is_accepted_any_more(tmp_path: Path, fault: Fault) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        deliver(store, [Event(ANN, "View", 1)])
        files.plan(fault)
        with pytest.raises(StoreFailed):
            deliver(store, [Event(ANN, "View", 2)])
        files.plan()
        with pytest.raises(StoreFailed) as caught:
            deliver(store, [Event(ANN, "View", 3)])
        assert "planned fault" in caught.value.cause
        assert files.counts["any"] == 0, "the failed file is not touched again"
        assert contents(store) == expected_contents([Event(ANN, "View", 1)])
    with opened(tmp_path) as store:
        times = [ts for ts, _ in contents(store).events["View"][ANN]]
        assert times in ([1], [1, 2]), "what was never acknowledged is there once or not at all"


def test_a_write_that_cannot_be_undone_stops_the_store(tmp_path: Path) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        files.plan(Fault("write", 1, errno.ENOSPC, 10), Fault("truncate", 1, errno.EIO))
        with pytest.raises(StoreFailed):
            deliver(store, [Event(ANN, "View", 1)])
        with pytest.raises(StoreFailed):
            deliver(store, [Event(ANN, "View", 1)])
    with opened(tmp_path) as store:
        assert contents(store) == Contents()


def _append_all(log: LocalLog) -> tuple[list[LogEntry], list[LogEntry]]:
    """(acknowledged, last one in doubt): appends until the log refuses for good; a full disk is tried again."""
    acked = list[LogEntry]()
    for number in range(1, 9):
        group = [entry(0, number, bytes([number]) * 40)]
        for _ in range(3):
            try:
                log.append(group)
            except StorageFull:
                continue
            except StoreFailed:
                return acked, group
            acked += group
            break
    return acked, []


def _operations(directory: Path) -> int:
    directory.mkdir()
    files = FaultyFiles()
    log = LocalLog(directory, files, segment_bytes=150)
    log.replay(lambda record: None, lambda *_: None)
    files.plan()
    assert len(_append_all(log)[0]) == 8
    log.close()
    return files.counts["any"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("written", [0, 9])
def test_whichever_operation_fails_what_was_acknowledged_is_read_back(tmp_path: Path, error: int, written: int) -> None:
    """Every write, sync, open, truncate and directory sync of eight appends over several segments fails once."""
    operations = _operations(tmp_path / "count")
    assert operations > 20
    problems = list[str]()
    for number in range(1, operations + 1):
        directory = tmp_path / str(number)
        directory.mkdir()
        files = FaultyFiles()
        log = LocalLog(directory, files, segment_bytes=150)
        log.replay(lambda record: None, lambda *_: None)
        files.plan(Fault("any", number, error, written))
        try:
            acked, in_doubt = _append_all(log)
            log.close()
            assert files.struck
            found = replayed(directory)
            assert found in (acked, acked + in_doubt)
        except (AssertionError, StoreError, OSError) as problem:
            problems.append(f"{number} {files.struck}: {type(problem).__name__}: {str(problem)[:300]}")
    assert not problems, "\n".join(problems)


def test_a_crash_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A power loss drops unsynced bytes and unsynced directory entries."""
    files = FaultyFiles()
    log = LocalLog(tmp_path, files, segment_bytes=150)
    log.replay(lambda record: None, lambda *_: None)
    acked, _ = _append_all(log)
    log.close()
    files.crash()
    assert replayed(tmp_path) == acked


def test_a_crash_after_a_failed_sync_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        deliver(store, [Event(ANN, "View", 1)])
        files.plan(Fault("sync", 1, errno.EIO))
        with pytest.raises(StoreFailed):
            deliver(store, [Event(ANN, "View", 2)])
    files.crash()
    with opened(tmp_path) as store:
        assert contents(store) == expected_contents([Event(ANN, "View", 1)])


def test_a_batch_over_the_record_limit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        monkeypatch.setattr(cdp_store.shard.admission, "LOG_RECORD_BYTES_MAX", 1000)
        large = batch_of([Event(ANN, "View", 1, {"a": "x" * 2000}, "m1")], b"b1")
        small = batch_of([Event(ANN, "View", 2, {}, "m2")], b"b2")
        with pytest.raises(BatchTooLarge) as caught:
            store.commit([Delivery(PartitionId(0), small), Delivery(PartitionId(0), large)])
        assert caught.value.limit == 1000 < caught.value.size
        assert contents(store) == Contents()
        assert deliver(store, [Event(ANN, "View", 2, {}, "m2")], b"b2").accepted == 1


# ------------------------------------------------------------------------------------------------------------ directory


def test_row_23_a_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cdp_store.shard.store import Store\n"
        "from cdp_store.directory.shard_directory import ShardIdentity\n"
        "from cdp_store.outside.seams import OsFiles; from cdp_store.errors import DirectoryInUse\n"
        "from tests.shards import KEY\n"
        "try:\n    Store(Path(sys.argv[1]), ShardIdentity('test', 0, (0, 1)), KEY, OsFiles())\n"
        "except DirectoryInUse as error:\n    print(error.path)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(cdp_store.shard.store.__file__).parents[2]
    with opened(tmp_path):
        refused = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    allowed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert refused.stdout.strip() == str(tmp_path)
    assert allowed.stdout == ""


def test_a_second_store_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(DirectoryInUse):
            Store(tmp_path, IDENTITY, KEY, OsFiles())
    with opened(tmp_path):
        pass


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (ShardIdentity("other", 0, (0, 1)), "cluster"),
        (ShardIdentity("test", 1, (0, 1)), "shard"),
        (ShardIdentity("test", 0, (0, 2)), "partitions"),
    ],
)
def test_a_directory_of_other_settings_is_refused_and_stays_usable(
    tmp_path: Path, other: ShardIdentity, what: str
) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 1)])
    with pytest.raises(DirectoryMismatch) as caught:
        Store(tmp_path, other, KEY, OsFiles())
    assert caught.value.what == what
    with opened(tmp_path) as store:
        assert contents(store) == expected_contents([Event(ANN, "View", 1)])


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"cluster": 5}'])
def test_a_damaged_identity_file_is_an_error_of_the_store(tmp_path: Path, damage: bytes) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / "identity.json").write_bytes(damage)
    with pytest.raises(StoreError):
        Store(tmp_path, IDENTITY, KEY, OsFiles())


@pytest.mark.parametrize("payload", [b"", b"\x80", b"no batch"])
@pytest.mark.parametrize("kind", sorted(set(RecordKind) - {RecordKind.LOST}))
def test_row_16_a_logged_record_that_cannot_be_read_names_its_file_and_is_never_passed_over(
    tmp_path: Path, payload: bytes, kind: RecordKind
) -> None:
    """Its checksum fits, so it is no torn tail; whoever starts the shard must learn where it lies."""
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 1)])
    (path,) = (tmp_path / "log").glob("*.cdplog")
    log = LocalLog(tmp_path / "log", OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    log.append([LogEntry(PartitionId(0), SequenceNumber(2), payload, kind)])
    log.close()
    with pytest.raises(StoreError) as caught, opened(tmp_path):
        pass
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- a full disk


class SmallDisk(FaultyFiles):
    """A disk with room for so many bytes in all files of one directory."""

    def __init__(self, directory: Path, room: int) -> None:
        super().__init__()
        self._directory, self.room = directory, room

    def strike(self, operation: str) -> int:
        if operation in ("write", "allocate"):
            used = sum(path.stat().st_size for path in self._directory.iterdir())
            if used + (self.need if operation == "write" else LOG_RESERVE_BYTES) > self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
        return super().strike(operation)

    need = 60


def test_row_06_on_a_full_disk_what_removes_data_is_still_logged_and_trimming_makes_room(tmp_path: Path) -> None:
    files = SmallDisk(tmp_path, LOG_RESERVE_BYTES + 8192 + 700)
    log = LocalLog(tmp_path, files, segment_bytes=150)
    log.replay(lambda record: None, lambda *_: None)
    assert (tmp_path / "reserve").stat().st_size == LOG_RESERVE_BYTES
    taken = 0
    with pytest.raises(StorageFull):
        for number in range(1, 100):
            log.append([entry(0, number, bytes(20))])
            taken = number
    assert taken > 3
    with pytest.raises(StorageFull):
        log.append([entry(0, taken + 1, bytes(20))])
    log.append([entry(0, taken + 1, b"erase")], essential=True)
    assert not (tmp_path / "reserve").exists()
    assert log.trim({PartitionId(0): SequenceNumber(taken)}) > 0
    assert (tmp_path / "reserve").stat().st_size == LOG_RESERVE_BYTES, "held back again as soon as there is room"
    log.append([entry(0, taken + 2, bytes(20))])
    log.close()
    again, found = LocalLog(tmp_path, OsFiles()), list[int]()
    again.replay(lambda record: found.append(record.sequence), lambda *_: None, {PartitionId(0): SequenceNumber(taken)})
    again.close()
    assert found == [taken + 1, taken + 2]


@pytest.mark.parametrize("operation", ["update", "sync"])
def test_row_07_a_position_that_cannot_be_written_stops_the_store(tmp_path: Path, operation: str) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        deliver(store, [Event(ANN, "View", 1)])
        files.plan(Fault(operation, 1, errno.EIO))
        with pytest.raises(StoreFailed):
            store.maintain()
            deliver(store, [Event(ANN, "View", 2)])
        with pytest.raises(StoreFailed):
            deliver(store, [Event(ANN, "View", 3)])
    with opened(tmp_path) as store:
        assert [ts for ts, _ in contents(store).events["View"][ANN]] in ([1], [1, 2])


def test_row_09_a_power_loss_while_segments_are_removed_leaves_no_hole_in_the_log(tmp_path: Path) -> None:
    entries = [entry(0, number, b"x" * 50) for number in range(1, 9)]
    for seed, number in product(range(4), range(1, 11)):
        directory, files = tmp_path / f"{seed} {number}", FaultyFiles()
        directory.mkdir()
        log = LocalLog(directory, files, segment_bytes=120)
        log.replay(lambda record: None, lambda *_: None)
        for each in entries:
            log.append([each])
        files.plan(Fault("any", number, errno.EIO))
        with suppress(OSError):
            log.trim({PartitionId(0): SequenceNumber(5)})
        if seed % 2:  # what failed is tried again, and that is cut short too
            files.plan(Fault("any", 3, errno.EIO))
            with suppress(OSError):
                log.trim({PartitionId(0): SequenceNumber(7)})
        files.plan()
        log.close()
        files.crash(Random(seed))
        assert replayed(directory, {PartitionId(0): SequenceNumber(7)}) == entries[7:]


def test_row_03_a_salvaged_store_starts_without_the_lost_batch_and_takes_it_again(tmp_path: Path) -> None:
    records = [[Event(ANN, "View", number, {}, f"m{number}")] for number in range(4)]
    with opened(tmp_path) as store:
        for number, group in enumerate(records):
            deliver(store, group, b"b%d" % number)
    (path,) = log_path(tmp_path).glob("*.cdplog")
    damaged = bytearray(path.read_bytes())
    damaged[starts(replayed(log_path(tmp_path)))[1] + 60] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(LogCorrupt, match="--salvage"), opened(tmp_path):
        pass
    assert salvage_shard(tmp_path, OsFiles()).lost == {0: 1}
    with opened(tmp_path) as store:
        assert store.partitions[PartitionId(0)].sequence == 4
        assert [ts for ts, _ in contents(store).events["View"][ANN]] == [0, 2, 3]
        assert deliver(store, records[1], b"b1").accepted == 1
        assert deliver(store, records[2], b"b2").accepted == 0
    with opened(tmp_path) as store:
        assert [ts for ts, _ in contents(store).events["View"][ANN]] == [0, 1, 2, 3]


def test_in_interval_mode_nothing_is_synced_until_told(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = Store(tmp_path, IDENTITY, KEY, files, SyncMode.INTERVAL)
    store.recover(lambda *_: None)
    files.plan()
    deliver(store, [Event(ANN, "View", 1)])
    assert files.counts["sync"] == 0
    store.sync()
    assert files.counts["sync"] == 1
    store.close()
    files.crash()
    with opened(tmp_path) as store:
        assert contents(store) == expected_contents([Event(ANN, "View", 1)])
