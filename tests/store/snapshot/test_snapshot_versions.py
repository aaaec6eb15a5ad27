"""Snapshots of older formats: files that an earlier version wrote are read, shared and written on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cdp_store.directory.shard_directory import snapshots_path
from cdp_store.errors import SnapshotUnsupported
from cdp_store.ids import PartitionId
from cdp_store.limits import DAY_MS
from cdp_store.memory.digest import digest
from cdp_store.memory.validate import validate
from cdp_store.shard.store import Store
from cdp_store.snapshot.manifest import VERSION
from cdp_store.snapshot.reader import read_manifest
from tests.raw_records import Change, Event, Record
from tests.store.contents import expected_contents, read_contents
from tests.store.snapshot.test_snapshot import ANN, BOB, EVERY_KIND, deliver, forget_log, opened, snapshot

VERSION_2 = Path(__file__).parents[1] / "golden" / "snapshot-2"
DIGEST_2 = "6e87240ada85cdb50c04f86b6944d4e2"  # as the version that wrote it told
# The first event was dropped by retention before the snapshot was taken.
RECORDS_2: list[Record] = [
    Event(ANN, "Old", 4_990 * DAY_MS, {"n": 2}),
    *EVERY_KIND,
    Event(ANN, "View", 1, {"price": 12.95}),
    Change(BOB, 9, {"age": 31}),
    Change(BOB, 11, {"age": None}),
    Event(BOB, "View", 2, {"price": 0.1, "s": "é"}),
]


def check(store: Store) -> None:
    partition = store.partitions[PartitionId(0)]
    view = partition.capture()
    assert str(digest(view)) == DIGEST_2
    assert read_contents(view) == expected_contents(RECORDS_2)
    [summary] = view.summaries.values()
    assert (summary.counts.tolist(), summary.first_ms.tolist()) == ([1], [4_000 * DAY_MS])
    assert partition.retention_days() == {"Old": 365}
    validate(partition._memory)


def test_row_22_a_snapshot_of_version_2_is_read_and_its_files_are_shared(tmp_path: Path) -> None:
    shutil.copytree(VERSION_2, snapshots_path(tmp_path))
    with opened(tmp_path) as store:
        check(store)
        assert deliver(store, [Event(ANN, "View", 1, {"price": 12.95}, "m1")]) == 0
        taken = snapshot(store)
        assert taken.files_shared >= 4
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert store.newest_snapshot is not None and store.newest_snapshot.number == 2
        check(store)
        manifest = read_manifest(store.snapshot_place, 2)
    assert VERSION == 4 and any(name.startswith("00000001-") for name in manifest.files)


def test_row_22_a_snapshot_of_a_newer_version_is_refused_and_not_passed_over_for_an_older_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(2):
            deliver(store, [Event(ANN, "View", number)])
            snapshot(store)
    newest = snapshots_path(tmp_path) / "snapshot-00000002.json"
    written = newest.read_bytes()
    newest.write_bytes(written.replace(b'{"version":%d' % VERSION, b'{"version":%d' % (VERSION + 1), 1))
    with pytest.raises(SnapshotUnsupported, match=rf"{newest.name}.*{VERSION + 1}.*{VERSION}"), opened(tmp_path):
        pass
    newest.write_bytes(written)
    with opened(tmp_path) as store:
        assert store.newest_snapshot is not None and store.newest_snapshot.number == 2
