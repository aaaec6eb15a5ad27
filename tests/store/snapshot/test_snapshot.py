"""Snapshots: what was written is read back whole, shared where it can be, and never trusted unchecked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.directory.shard_directory import ShardIdentity, snapshots_path
from cdp_store.errors import LogCorrupt, SnapshotFailed
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.limits import DAY_MS
from cdp_store.memory.digest import Digest, digest
from cdp_store.memory.validate import validate
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.shard.admission import Delivery
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store
from cdp_store.snapshot.keeper import Taken
from cdp_store.snapshot.manifest import decode_manifest
from cdp_store.snapshot.reader import read_manifest, snapshot_numbers
from tests import strategies
from tests.raw_records import Change, Event, Record, anonymous, user
from tests.shards import KEY, batch_of, without_log
from tests.store.contents import expected_contents, read_contents

ANN, BOB = user("ann"), user("bob")
IDENTITY = ShardIdentity("test", 0, (0, 1))
STEPS = ["", "seal", "snapshot", "restart", "both"]


@contextmanager
def opened(directory: Path, files: Files | None = None) -> Iterator[Store]:
    """A recovered store, closed at the end."""
    store = Store(directory, IDENTITY, KEY, files or OsFiles())
    try:
        store.recover(lambda *_: None)
        yield store
    finally:
        store.close()


def deliver(store: Store, records: list[Record], partition: int = 0, batch_id: bytes = b"") -> int:
    [outcome] = store.commit([Delivery(PartitionId(partition), batch_of(records, batch_id))])
    return outcome.accepted


def digests(store: Store) -> list[Digest]:
    return [digest(partition.capture()) for partition in store.partitions.values()]


def snapshot(store: Store) -> Taken:
    return store.snapshot(0)[0]


def forget_log(directory: Path) -> None:
    """Only the snapshots are left."""
    without_log(directory, IDENTITY)


EVERY_KIND: list[Record] = [
    Event(
        ANN,
        "View",
        5,
        {"n": 1, "wide": 1 << 40, "f": 0.5, "s": "é", "b": True, "l": ["x", 1], "t": strategies.MOMENT_VALUES[0]},
    ),
    Event(ANN, "View", 5, {"n": -7, "s": ""}),
    Event(BOB, "View", 3, {"n": "text", "l": []}),
    Event(anonymous("a"), 'Buy, "all"', -9, {"a.b:c": 2.0, "f": -0.0}),
    Change(ANN, 4, {"plan": "gold", "age": 30}),
    Change(ANN, 6, {"plan": None, "tags": ["a"]}),
    Change(BOB, 6, {}),
]


@given(
    st.lists(
        st.tuples(
            strategies.records(10), st.integers(0, 1), st.sampled_from(["", "seal", "snapshot", "restart", "both"])
        ),
        max_size=4,
    )
)
@settings(max_examples=12)
def test_any_mix_of_writes_seals_snapshots_and_restarts_loses_nothing(
    steps: list[tuple[list[Record], int, str]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, records = Path(name), (list[Record](), list[Record]())
        store = Store(directory, IDENTITY, KEY, OsFiles())
        store.recover(lambda *_: None)
        for batch, partition, what in steps:
            deliver(store, batch, partition)
            records[partition].extend(batch)
            if what == "seal":
                store.maintain(0, 2)
            if what in ("snapshot", "both"):
                snapshot(store)
            if what in ("restart", "both"):
                before = digests(store)
                store.close()
                store = Store(directory, IDENTITY, KEY, OsFiles())
                store.recover(lambda *_: None)
                assert digests(store) == before
        snapshot(store)
        before = digests(store)
        store.close()
        forget_log(directory)
        with opened(directory) as store:
            assert digests(store) == before
            for number, held in store.partitions.items():
                assert read_contents(held.capture()) == expected_contents(records[number])
                validate(held._memory)


def test_a_restored_partition_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    more: list[Record] = [
        Event(BOB, "View", 8, {"s": "é", "new": "string"}),
        Change(ANN, 9, {"plan": "gold", "x": "y"}),
    ]
    with opened(tmp_path) as store:
        deliver(store, [*EVERY_KIND, Event(ANN, "View", 1, {}, "m1")], batch_id=b"b1")
        snapshot(store)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert deliver(store, [Event(ANN, "View", 1, {}, "m1"), Event(ANN, "View", 2, {}, "m2")]) == 1
        assert deliver(store, EVERY_KIND, batch_id=b"b1") == 0
        deliver(store, more)
        held = store.partitions[PartitionId(0)]
        assert held.sequence == 3
        everything = [*EVERY_KIND, Event(ANN, "View", 1), Event(ANN, "View", 2), *more]
        assert read_contents(held.capture()) == expected_contents(everything)
        store.maintain(0, 2)
        validate(held._memory)
        assert read_contents(held.capture()) == expected_contents(everything)


def test_what_did_not_change_is_shared_by_later_snapshots(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", number, {"n": number}) for number in range(500)])
        store.maintain(0)
        first = snapshot(store)
        again = snapshot(store)
        assert (again.files_written, again.files_shared) == (0, first.files_written)
        deliver(store, [Event(ANN, "View", 1000)])
        more = snapshot(store)
        assert more.bytes_written < first.bytes_written
        assert more.bytes_shared > first.bytes_written // 2
        names = set(read_manifest(store.snapshot_place, more.number).files)
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 7)], partition=1)
        third = snapshot(store)
        shared = set(read_manifest(store.snapshot_place, third.number).files) & names
        assert any("events" in name for name in shared), "also after a restart"


def test_files_of_which_little_is_used_are_given_up(tmp_path: Path) -> None:
    """Compaction replaces chunks: what was written of them must not stay for ever."""
    with opened(tmp_path) as store:
        for number in range(6):
            deliver(store, [Event(ANN, "View", number)])
            store.maintain(0, 99)
            snapshot(store)
        store.maintain(0, 2)
        last = [snapshot(store) for _ in range(2)][-1]
        files = read_manifest(store.snapshot_place, last.number).files
        assert sum("events" in name for name in files) == 1
        assert sum(entry.rows for name, entry in files.items() if "events" in name) == 6
        on_disk = {path.name for path in snapshots_path(tmp_path).iterdir() if path.suffix == ".parquet"}
        kept = [read_manifest(store.snapshot_place, number).files for number in (last.number - 1, last.number)]
        assert on_disk == {name for each in kept for name in each}, "and nothing else lies around"


def test_many_small_files_become_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(30):
            deliver(store, [Event(user(f"u{number}"), f"Name {number % 3}", number, {"s": f"text {number}"})])
            store.maintain(0, 99)
            taken = snapshot(store)
        assert taken.files_shared + taken.files_written < 40
        before = digests(store)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert digests(store) == before


def test_erased_profiles_and_rules_of_retention_are_as_they_were_after_a_start_from_a_snapshot(tmp_path: Path) -> None:
    gone, kept = "erased-person", "kept-person"
    records: list[Record] = [
        *(
            Event(user(who), "View", day * DAY_MS, {"secret": f"text of {who}"})
            for who in (gone, kept)
            for day in (1, 400)
        ),
        Change(user(gone), 5, {"plan": f"plan of {gone}"}),
    ]
    with opened(tmp_path) as store:
        deliver(store, records)
        snapshot(store)
        store.erase(PartitionId(0), [encode_identifier(*user(gone))])
        Retaining(store).set_retention({"View": 30}, 401 * DAY_MS)
        live = digests(store)
        for _ in range(2):
            snapshot(store)
        held = [path.read_bytes() for path in snapshots_path(tmp_path).iterdir()]
        assert not any(gone.encode() in content for content in held)
        store.purge()
        assert digests(store) == live, "purging does not show"
        deliver(store, [Event(user(kept), "View", 400 * DAY_MS, {"secret": "more"})])
        snapshot(store)
        live = digests(store)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert digests(store) == live
        partition = store.partitions[PartitionId(0)]
        assert partition.retention_days() == {"View": 30}
        view = partition.capture()
        assert view.row_count == 1
        assert view.summaries[view.schema.events["View"]].counts.tolist() == [1]
        validate(partition._memory)


# ------------------------------------------------------------------------------------------------------- log and damage


def filled_twice(directory: Path) -> list[Digest]:
    """A store with two snapshots, some log behind each, and what it amounts to."""
    with opened(directory) as store:
        for number, records in enumerate((EVERY_KIND, EVERY_KIND[:3])):
            deliver(store, records)
            deliver(store, [Event(BOB, "Between", number)], partition=1)
            snapshot(store)
        deliver(store, [Event(ANN, "Last", 99)])
        return digests(store)


def test_the_log_is_trimmed_behind_the_older_of_two_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_store.shard.store.LOG_SEGMENT_BYTES", 400)
    with opened(tmp_path) as store:
        removed = list[int]()
        for number in range(6):
            deliver(store, EVERY_KIND[:3])
            removed.append(store.snapshot(number)[1])
        before = digests(store)
        assert removed[0] == 0
        assert sum(removed) >= 3
    with opened(tmp_path) as store:
        assert digests(store) == before
    newest, older = sorted(snapshots_path(tmp_path).glob("*.json"), reverse=True)
    newest.write_bytes(b"{}")
    with opened(tmp_path) as store:
        assert digests(store) == before, "the older one and the log behind it are enough"
    older.write_bytes(b"{}")
    with pytest.raises(LogCorrupt, match="no snapshot holds it; and snapshot file"), opened(tmp_path):
        pass


def test_row_05_any_damaged_file_of_the_newest_snapshot_falls_back_to_the_other_and_more_log(tmp_path: Path) -> None:
    before = filled_twice(tmp_path)
    place = snapshots_path(tmp_path)
    newest = decode_manifest("", max(place.glob("*.json")).read_bytes())
    older = decode_manifest("", min(place.glob("*.json")).read_bytes())
    own = [name for name in newest.files if name not in older.files]
    assert own
    for name in (*own, max(path.name for path in place.glob("*.json"))):
        whole = (place / name).read_bytes()
        for at in {*range(0, len(whole), 1024), len(whole) - 1}:
            damaged = bytearray(whole)
            damaged[at] ^= 8
            (place / name).write_bytes(damaged)
            store = Store(tmp_path, IDENTITY, KEY, OsFiles())
            recovery = store.recover(lambda *_: None)
            assert any(name in problem for problem in recovery.problems), (name, at)
            assert digests(store) == before
            assert [problem.file for problem in store.verify_snapshots().problems] == [name]
            store.close()
        (place / name).write_bytes(whole)
    with opened(tmp_path) as store:
        assert store.verify_snapshots().problems == []


def test_row_05_a_snapshot_that_was_found_damaged_is_none_of_the_two_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp_store.shard.store.LOG_SEGMENT_BYTES", 400)
    filled_twice(tmp_path)
    damage_newest(tmp_path)
    with opened(tmp_path) as store:
        deliver(store, [Event(user("late"), "View", 5, {}, "late")])
        snapshot(store)
        before = digests(store)
        assert snapshot_numbers(store.snapshot_place) == [3, 1]
    damage_newest(tmp_path)
    with opened(tmp_path) as store:
        assert digests(store) == before


def damage_newest(directory: Path) -> None:
    """Turn a bit over in a file that only the newest snapshot has."""
    place = snapshots_path(directory)
    newest, older = sorted(place.glob("*.json"), reverse=True)
    own = set(decode_manifest("", newest.read_bytes()).files) - set(decode_manifest("", older.read_bytes()).files)
    path = place / min(own)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 8
    path.write_bytes(damaged)


def test_row_05_without_any_whole_snapshot_an_untrimmed_log_is_enough(tmp_path: Path) -> None:
    before = filled_twice(tmp_path)
    for path in snapshots_path(tmp_path).glob("*.json"):
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with opened(tmp_path) as store:
        assert digests(store) == before


@pytest.mark.parametrize("operation", ["write", "sync", "open", "rename", "sync_directory", "any"])
def test_row_24_a_snapshot_that_fails_or_is_killed_anywhere_leaves_the_last_good_state(
    tmp_path: Path, operation: str
) -> None:
    before = filled_twice(tmp_path)
    number = 0
    while True:
        number += 1
        files = FaultyFiles()
        with opened(tmp_path, files) as store:
            files.plan(Fault(operation, number, 5))
            try:
                snapshot(store)
                break
            except SnapshotFailed:
                files.plan()
            assert deliver(store, []) == 0, "the store goes on"
        files.crash()
        with opened(tmp_path) as store:
            assert digests(store) == before
            assert store.verify_snapshots().problems == []
    assert number > 1
    with opened(tmp_path) as store:
        assert digests(store) == before


@pytest.mark.parametrize("seed", range(6))
def test_row_09_no_power_loss_leaves_a_snapshot_without_its_files(tmp_path: Path, seed: int) -> None:
    filled_twice(tmp_path / "0")
    number, finished = 0, False
    while not finished:
        number += 1
        directory, files = tmp_path / str(number), FaultyFiles()
        shutil.copytree(tmp_path / "0", directory)
        with opened(directory, files) as store:
            files.plan(Fault("any", number, 5))
            with suppress(SnapshotFailed):
                store._snapshots._prune(1)
            finished = not files.struck
            files.plan()
        files.crash(Random(seed))
        with opened(directory) as store:
            assert store.verify_snapshots().problems == []
    assert number > 3, "a manifest and files were removed"


def test_a_crash_right_after_a_snapshot_keeps_it(tmp_path: Path) -> None:
    files = FaultyFiles()
    with opened(tmp_path, files) as store:
        deliver(store, EVERY_KIND)
        snapshot(store)
        before = digests(store)
    files.crash()
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert digests(store) == before


# ----------------------------------------------------------------------------------------------------------- open files


def test_any_tool_reads_the_files(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(
            store,
            [
                Event(user(f"u{n}"), "Charged", 1_700_000_000_000 + n, {"amount": n / 4, "plan": f"p{n % 3}"})
                for n in range(100)
            ],
        )
        deliver(store, [Change(user(f"u{n}"), 5, {"city": f"c{n % 7}"}) for n in range(100)])
        store.maintain(0)
        taken = snapshot(store)
        manifest = read_manifest(store.snapshot_place, taken.number)
    place, entry = snapshots_path(tmp_path), manifest.partitions[0]
    [events] = entry.events[entry.event_names.index("Charged")]
    strings = place / entry.strings[entry.property_names.index("plan") << 2][0].file
    people = place / entry.identifiers[0].file
    answer = duckdb.sql(
        f"""
        SELECT s.text, count(*), sum("amount:float"), min(p.identifier), epoch_ms(max(e.time))
        FROM '{place / events.file}' e
        JOIN '{strings}' s ON s.scope = {entry.property_names.index("plan") << 2} AND s.code = e."plan:string"
        JOIN '{people}' p ON p.row = e.row
        GROUP BY 1 ORDER BY 1
        """
    ).fetchall()
    assert [row[:4] for row in answer] == [
        ("p0", 34, sum(range(0, 100, 3)) / 4, "uu0"),
        ("p1", 33, sum(range(1, 100, 3)) / 4, "uu1"),
        ("p2", 33, sum(range(2, 100, 3)) / 4, "uu11"),
    ]
    assert answer[0][4] == 1_700_000_000_099
    [morsel] = entry.morsels
    cities = place / entry.strings[entry.attribute_names.index("city") << 2 | 2][0].file
    answer = duckdb.sql(
        f"""
        SELECT s.text, count(*), epoch_ms(max(a.created)) FROM '{place / morsel.file}' a
        JOIN '{cities}' s ON s.scope = {entry.attribute_names.index("city") << 2 | 2} AND s.code = a."city:string"
        GROUP BY 1 ORDER BY 1
        """
    ).fetchall()
    assert answer == [(f"c{n}", len(range(n, 100, 7)), 5) for n in range(7)]
