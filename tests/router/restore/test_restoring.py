"""Restoring: the same contents in any shape, up to any instant, and never over what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cluster.partitioning import partitions_of, split
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.restore import cluster_restore
from cdp_router.restore.cluster_restore import Restored, Wanted, restore, verify_source
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.errors import DirectoryExists, DirectoryInUse, InstantTooEarly, NothingToRestore, PartitionElsewhere
from cdp_store.events.retained import Summary
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.limits import DAY_MS
from cdp_store.memory.digest import Digest, digest
from cdp_store.outside.seams import OsFiles
from cdp_store.records.records import Strings
from cdp_store.shard.admission import Delivery
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store
from cdp_store.snapshot.keeper import copy_snapshot, fill
from cdp_store.snapshot.parts import only, renamed
from cdp_store.snapshot.places import place_at
from cdp_store.snapshot.reader import check_file, read_manifest
from tests import strategies
from tests.raw_records import Change, Event, Record, user
from tests.router.local_cluster import NOW_MS
from tests.shards import batch_of

RECORDS: list[Record] = [
    *(Event(user(f"u{n}"), f"E{n % 3}", n, {"n": n, "s": f"t{n % 5}", "l": ["x"], "f": n / 4}) for n in range(40)),
    *(Change(user(f"u{n}"), n, {"plan": f"p{n % 4}", "gone": None}) for n in range(0, 60, 2)),
    Change(user("u1"), 3, {"plan": ["a", 1]}),
    Change(user("bare"), 3, {}),
    Event(user("u1"), "E1", 1, {"n": "tie"}),
]


class Data:
    """The stores of a cluster's shards, without processes."""

    def __init__(self, path: Path, shards: int = 2, partitions: int = 4) -> None:
        self.directory = ClusterDirectory(path)
        self.cluster = self.directory.load_or_create(shards, partitions)
        self.stores = [
            Store(self.directory.shard_path(n), self.cluster.shard_identity(n), self.cluster.hash_key, OsFiles())
            for n in range(self.cluster.shards)
        ]
        for store in self.stores:
            store.recover(lambda *_: None)

    def deliver(self, records: list[Record], received_ms: int = 0) -> int:
        accepted = 0
        whole = batch_of(records)
        for number, (part, _) in split(whole, self.cluster.hash_key, self.cluster.partitions).items():
            timed = type(part)(**{**{f: getattr(part, f) for f in part.__slots__}, "received_ms": received_ms})
            store = self.stores[self.cluster.first_shard_of_partition(number)]
            accepted += store.commit([Delivery(PartitionId(number), timed)])[0].accepted
        return accepted

    def digest(self) -> Digest:
        return sum((digest(p.capture()) for store in self.stores for p in store.partitions.values()), Digest())

    def validate(self) -> None:
        for store in self.stores:
            for partition in store.partitions.values():
                partition.validate()

    def snapshot(self) -> None:
        for store in self.stores:
            store.snapshot(0)

    def close(self) -> None:
        for store in self.stores:
            store.close()


@contextmanager
def opened(path: Path, shards: int = 2, partitions: int = 4) -> Iterator[Data]:
    data = Data(path, shards, partitions)
    try:
        yield data
    finally:
        data.close()


def restored(source: Path | str, data: Path, wanted: Wanted = Wanted(), *, overwrite: bool = False) -> Restored:
    return restore(str(source), data, wanted, lambda line: None, 7, overwrite=overwrite)


@pytest.mark.parametrize(("shards", "partitions"), [(2, 4), (1, 4), (4, 4), (2, 3), (1, 1), (3, 9)])
@pytest.mark.parametrize("with_log", [True, False], ids=["snapshot and log", "copy"])
def test_a_restored_cluster_of_any_shape_holds_the_same(
    tmp_path: Path, shards: int, partitions: int, with_log: bool
) -> None:
    source = tmp_path / "source"
    with opened(source) as data:
        data.deliver(RECORDS[:50])
        data.snapshot()
        if with_log:
            data.deliver(RECORDS[50:])
        else:
            for number, store in enumerate(data.stores):
                target = place_at(str(tmp_path / "copy"), f"shard-{number}/snapshots")
                copy_snapshot(store.snapshot_place, target, 1)
            place_at(str(tmp_path / "copy")).publish("cluster.json", (source / "cluster.json").read_bytes())
        before = data.digest()
    made = restored(source if with_log else tmp_path / "copy", tmp_path / "new", Wanted(shards, partitions))
    assert (made.digest, made.replaced) == (before, None)
    with opened(tmp_path / "new", shards, partitions) as data:
        assert data.digest() == before
        data.validate()
        assert data.deliver([Event(user("u1"), "More", 5)]) == 1
        after = data.digest()
    with opened(tmp_path / "new", shards, partitions) as data:
        assert data.digest() == after
    assert verify_source(str(tmp_path / "new"))[3] == []


@given(strategies.records(25), st.integers(1, 5))
@settings(max_examples=15)
def test_any_contents_survive_another_number_of_partitions(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], partitions: int
) -> None:
    path = tmp_path_factory.mktemp("restore")
    with opened(path / "source", 1, 2) as data:
        data.deliver(records)
        before = data.digest()
    restored(path / "source", path / "new", Wanted(1, partitions))
    with opened(path / "new", 1, partitions) as data:
        assert data.digest() == before


def test_ids_are_remembered_when_the_partitions_stay(tmp_path: Path) -> None:
    record = Event(user("ann"), "View", 1, {}, "m1")
    with opened(tmp_path / "source") as data:
        data.deliver([record])
        data.snapshot()
    restored(tmp_path / "source", tmp_path / "new", Wanted(shards=1))
    with opened(tmp_path / "new", 1) as data:
        assert data.deliver([record]) == 0


@pytest.mark.parametrize("partitions", [1, 3, 9])
def test_ids_and_what_retention_left_come_along_into_other_partitions(tmp_path: Path, partitions: int) -> None:
    known = [Event(user(f"u{n}"), "View", n * DAY_MS, {}, f"m{n}") for n in range(200)]
    gone = Event(user("gone"), "View", 1, {}, "of the gone")
    with opened(tmp_path / "source") as data:
        data.deliver([*known[:100], gone], received_ms=1000)
        number = int(partitions_of(Strings.of([encode_identifier(*gone.user)]), data.cluster.hash_key, 4)[0])
        [home] = [store for store in data.stores if PartitionId(number) in store.partitions]
        assert home.erase(PartitionId(number), [encode_identifier(*gone.user)])[1] == 1
        for store in data.stores:
            Retaining(store).set_retention({"View": 100}, 250 * DAY_MS)
        data.snapshot()
        data.deliver(known[100:], received_ms=2000)
        before = data.digest()
    restored(tmp_path / "source", tmp_path / "new", Wanted(1, partitions))
    with opened(tmp_path / "new", 1, partitions) as data:
        assert data.digest() == before
        assert sum(len(each.rows) for store in data.stores for each in summaries(store)) == 100
        assert data.deliver([*known, gone]) == 0, "all were taken before"
        assert data.deliver([Event(user("u1"), "View", 300 * DAY_MS, {}, "new")]) == 1
        data.validate()


def summaries(store: Store) -> list[Summary]:
    return [each for partition in store.partitions.values() for each in partition.capture().summaries.values()]


@pytest.mark.parametrize("snapshot_after", [None, 0, 2, 4])
def test_a_point_in_time_is_everything_received_up_to_it(tmp_path: Path, snapshot_after: int | None) -> None:
    """Whether the snapshot lies before the instant, behind it (then an untrimmed log is used), or is not there."""
    digests = list[Digest]()
    with opened(tmp_path / "source") as data:
        for number in range(5):
            data.deliver(RECORDS[number * 10 : number * 10 + 10], received_ms=1000 + number)
            digests.append(data.digest())
            if number == snapshot_after:
                data.snapshot()
    for number, wanted in enumerate(digests):
        made = restored(tmp_path / "source", tmp_path / f"new{number}", Wanted(until_ms=1000 + number))
        assert made.digest == wanted
    assert restored(tmp_path / "source", tmp_path / "none", Wanted(until_ms=999)).digest == Digest()


@pytest.mark.parametrize("partitions", [None, 7])
def test_an_instant_before_what_a_restored_directory_holds_is_refused_with_the_earliest(
    tmp_path: Path, partitions: int | None
) -> None:
    """Its snapshot is of what was received up to an instant, whatever partitions that was dealt out to."""
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS[:20], received_ms=1000)
        data.deliver(RECORDS[20:40], received_ms=2000)
        digest = data.digest()
    shape = {} if partitions is None else {"partitions": partitions, "shards": 1}
    restored(tmp_path / "source", tmp_path / "new", Wanted(**shape))
    assert restored(tmp_path / "new", tmp_path / "again", Wanted(until_ms=2000)).digest == digest
    with pytest.raises((InstantTooEarly, PartitionElsewhere)):
        restored(tmp_path / "new", tmp_path / "earlier", Wanted(until_ms=1999))
    assert not (tmp_path / "earlier").exists()


def test_an_instant_before_a_trimmed_log_is_no_damage(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS[:20], received_ms=NOW_MS)
        for store in data.stores:
            store.start_log_anew()
            store.purge_files(0)
    with pytest.raises(InstantTooEarly, match="reaches back to 2026-01-01"):
        restored(tmp_path / "source", tmp_path / "new", Wanted(until_ms=NOW_MS - 1))


@pytest.mark.parametrize("logged_after", [True, False])
def test_an_instant_before_a_partition_came_to_its_shard_is_refused(tmp_path: Path, logged_after: bool) -> None:
    """Partition 3 of shard 1 is taken over by shard 0, as step 3 of a move does it: with a snapshot."""
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS[:50], received_ms=1000)
        giver, taker = data.stores[1], data.stores[0]
        giver.snapshot(0)
        manifest = renamed(only(read_manifest(giver.snapshot_place, 1), PartitionId(3)), "taken-")
        for name, entry in manifest.files.items():
            data_of = check_file(giver.snapshot_place, name.removeprefix("taken-"), entry)
            taker.snapshot_place.write(name, data_of)
        moved = taker.empty_partition(PartitionId(3))
        fill({PartitionId(3): moved}, taker.snapshot_place, manifest)
        taker.stage(moved, manifest)
        taker.holdings.change(PartitionId(3), Holding(HoldingState.OWNED, 2))
        giver.holdings.change(PartitionId(3), Holding(HoldingState.GONE, 2, 0))
        taker.unstage(PartitionId(3), moved)
        giver.drop(PartitionId(3))
        before = data.digest()
        taker.snapshot(0)
        if logged_after:
            taker.commit([Delivery(PartitionId(3), batch_of([Event(user("late"), "View", 1)]))])
    refused = Wanted(until_ms=999)
    with pytest.raises(PartitionElsewhere, match="partition 3 came to shard 0"):
        restored(tmp_path / "source", tmp_path / "new", refused)
    assert not (tmp_path / "new").exists()
    others = Wanted(only=frozenset([0, 1, 2]), until_ms=999)
    assert restored(tmp_path / "source", tmp_path / "others", others).digest == Digest()
    assert logged_after or restored(tmp_path / "source", tmp_path / "all", Wanted(until_ms=1000)).digest == before


def test_the_replay_of_a_log_tells_how_far_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "source", 1, 1) as data:
        for record in RECORDS[:40]:
            data.deliver([record])
    told = list[str]()
    restore(str(tmp_path / "source"), tmp_path / "new", Wanted(), told.append, 7)
    shares = [line for line in told if "% of the log" in line]
    assert shares == [f"shard 0: {share} % of the log replayed" for share in range(10, 101, 10)]


def test_one_partition_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS)
        data.snapshot()
        expected = digest(data.stores[1].partitions[PartitionId(3)].capture())
    assert restored(tmp_path / "source", tmp_path / "new", Wanted(only=frozenset([3]))).digest == expected


def test_nothing_is_overwritten_without_being_told_and_nothing_is_lost_when_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS)
        data.snapshot()
        before = data.digest()
    with opened(tmp_path / "data") as data:
        data.deliver(RECORDS[:3])
        old = data.digest()
        with pytest.raises(DirectoryExists):
            restored(tmp_path / "source", tmp_path / "data")
        with pytest.raises(DirectoryInUse):
            restored(tmp_path / "source", tmp_path / "data", overwrite=True)
    with opened(tmp_path / "data") as data:
        assert data.digest() == old
    made = restored(tmp_path / "source", tmp_path / "data", overwrite=True)
    assert made.replaced is not None
    with opened(tmp_path / "data") as data:
        assert data.digest() == before
    with opened(made.replaced) as data:
        assert data.digest() == old


def test_row_24_a_restore_killed_half_way_leaves_what_was_there_and_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS)
        before = data.digest()
    with opened(tmp_path / "data") as data:
        data.deliver(RECORDS[:3])
        old = data.digest()
    for step in ("_loaded", "_write", "put_in_place", "carry_files", "write_durably"):
        with monkeypatch.context() as patched:

            def killed(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patched.setattr(cluster_restore, step, killed)
            with pytest.raises(KeyboardInterrupt):
                restored(tmp_path / "source", tmp_path / "data", overwrite=True)
        with opened(tmp_path / "data") as data:
            assert data.digest() == old
    restored(tmp_path / "source", tmp_path / "data", overwrite=True)
    with opened(tmp_path / "data") as data:
        assert data.digest() == before


def test_a_copy_without_snapshots_is_no_source(tmp_path: Path) -> None:
    with opened(tmp_path / "source"):
        pass
    place_at(str(tmp_path / "copy")).publish("cluster.json", (tmp_path / "source" / "cluster.json").read_bytes())
    with pytest.raises(NothingToRestore):
        restored(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()
