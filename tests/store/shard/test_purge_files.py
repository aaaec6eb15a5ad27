"""After a purge of the files no byte of an erased profile is in any of them, wherever it was killed before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cdp_store.directory.shard_directory import ShardIdentity, log_path, snapshots_path
from cdp_store.errors import LogCorrupt, SnapshotDamaged, StoreError
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.shard.admission import Delivery
from cdp_store.shard.salvaging import salvage_shard
from cdp_store.shard.store import Store
from tests.raw_records import Change, Event, Record, user
from tests.shards import KEY, batch_of
from tests.store.contents import check_same, expected_contents, read_contents

IDENTITY = ShardIdentity("test", 0, (0, 1))
ANN, ZEBRA = user("ann"), user("zebra-7")
SECRETS = (b"zebra", b"stripes")
OF_ZEBRA: list[Record] = [
    Event(ZEBRA, "View", 2, {"page": "zebra-page", "tags": ["stripes"]}, "id-of-the-stripes"),
    Change(ZEBRA, 4, {"plan": "stripes", "list": ["zebra"]}, "another-zebra"),
]
OF_OTHERS: list[Record] = [
    Event(ANN, "View", 1, {"page": "home", "tags": ["a"]}, "m1"),
    Change(ANN, 6, {"plan": "gold"}, "m2"),
]
LATE: list[Record] = [Event(ANN, "View", 9, {"page": "late"}, "m9")]


def opened(directory: Path, files: Files | None = None) -> Store:
    store = Store(directory, IDENTITY, KEY, files or OsFiles())
    try:
        store.recover(lambda *_: None)
    except StoreError:
        store.close()
        raise
    return store


def deliver(store: Store, records: list[Record]) -> int:
    return store.commit([Delivery(PartitionId(0), batch_of(records))])[0].accepted


def filled_and_erased(directory: Path, files: Files | None = None) -> Store:
    """A store with every place a profile can leave bytes in: log, two snapshots, cold columns written ahead of
    the next one, and an erasure that names it."""
    store = opened(directory, files)
    deliver(store, OF_ZEBRA[:1])
    deliver(store, OF_OTHERS)
    store.maintain(0)
    store.snapshot(0)
    deliver(store, OF_ZEBRA[1:])
    store.snapshot(0)
    deliver(store, [Event(ZEBRA, "View", 7, {"page": "zebra-late"}, "late-stripes")])
    assert store.write_cold() == ()
    assert store.erase(PartitionId(0), [encode_identifier(*ZEBRA)])[1] == 1
    return store


def found_in_files(directory: Path) -> dict[str, list[bytes]]:
    """The secrets that stand in any file below a directory, by file."""
    contents = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    found = {path.name: [secret for secret in SECRETS if secret in data] for path, data in contents.items()}
    return {name: secrets for name, secrets in found.items() if secrets}


def check_contents(store: Store, records: list[Record]) -> None:
    check_same(read_contents(store.partitions[PartitionId(0)].capture()), expected_contents(records))


@pytest.mark.parametrize("in_memory_too", [False, True])
def test_no_file_holds_a_byte_of_an_erased_profile_after_the_purge(tmp_path: Path, in_memory_too: bool) -> None:
    store = filled_and_erased(tmp_path)
    if in_memory_too:
        store.purge()
        assert store.partitions[PartitionId(0)].status().profiles == 1
    left = found_in_files(tmp_path)
    assert any(name.endswith(".cdplog") for name in left) and any("strings" in name for name in left)
    store.start_log_anew()
    deliver(store, LATE)
    done = store.purge_files(0)
    assert found_in_files(tmp_path) == {}
    assert (done.taken.snapshots_removed, done.segments_removed, done.untouched) == (2, 1, ())
    assert store.verify_snapshots().snapshots == 1
    store.close()
    store = opened(tmp_path)
    check_contents(store, OF_OTHERS + LATE)
    assert deliver(store, OF_OTHERS + LATE) == 0, "message ids are still known"
    store.close()


def test_row_01_and_24_a_purge_killed_between_any_two_steps_loses_nothing_and_can_be_done_again(
    tmp_path: Path,
) -> None:
    filled_and_erased(tmp_path / "0").close()
    number, finished = 0, False
    while not finished:
        number += 1
        directory, files = tmp_path / str(number), FaultyFiles()
        shutil.copytree(tmp_path / "0", directory)
        store = opened(directory, files)
        files.plan(Fault("any", number, 5))
        try:
            store.start_log_anew()
            deliver(store, LATE)
            store.purge_files(0)
            finished = True
        except StoreError:
            files.plan()
        store.close()
        files.crash()
        store = opened(directory)
        deliver(store, LATE)
        check_contents(store, OF_OTHERS + LATE)
        store.start_log_anew()
        store.purge_files(0)
        assert found_in_files(directory) == {}
        check_contents(store, OF_OTHERS + LATE)
        store.close()
    assert number > 20, "or nothing was interrupted"


def test_what_salvage_set_aside_is_named_and_what_it_left_unfinished_goes(tmp_path: Path) -> None:
    filled_and_erased(tmp_path).close()
    segment = log_path(tmp_path) / "00000001.cdplog"
    content = bytearray(segment.read_bytes())
    content[60] ^= 1
    segment.write_bytes(content)
    kept = salvage_shard(tmp_path, OsFiles()).kept
    (log_path(tmp_path) / "00000001.tmp").write_bytes(b"zebra")
    (log_path(tmp_path) / "quarantine" / "00000001.tmp").write_bytes(b"zebra")
    store = opened(tmp_path)
    store.start_log_anew()
    assert list(store.purge_files(0).untouched) == kept
    assert list(found_in_files(tmp_path)) == [kept[0].name]
    store.close()


def test_a_new_snapshot_that_cannot_be_read_back_takes_the_place_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled_and_erased(tmp_path)
    store.start_log_anew()
    before = sorted(path.name for path in snapshots_path(tmp_path).iterdir())
    place_write = type(store.snapshot_place).write

    def flipped(place: object, name: str, data: object) -> None:
        place_write(store.snapshot_place, name, data)
        path = snapshots_path(tmp_path) / name
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    with monkeypatch.context() as patched:
        patched.setattr(type(store.snapshot_place), "write", flipped)
        with pytest.raises(SnapshotDamaged):
            store.purge_files(0)
    assert set(before) <= {path.name for path in snapshots_path(tmp_path).iterdir()}
    store.close()
    store = opened(tmp_path)
    check_contents(store, OF_OTHERS)
    store.close()


def test_a_trimmed_log_without_any_snapshot_is_refused_also_when_nothing_was_logged_since(tmp_path: Path) -> None:
    store = filled_and_erased(tmp_path)
    store.start_log_anew()
    store.purge_files(0)
    store.close()
    for path in snapshots_path(tmp_path).iterdir():
        path.unlink()
    with pytest.raises(LogCorrupt, match="no snapshot holds it"):
        opened(tmp_path)
    assert salvage_shard(tmp_path, OsFiles()).damages
    store = opened(tmp_path)
    assert store.partitions[PartitionId(0)].status().events == 0
    store.close()
