"""Profiles in files: what attributes are now, shared while nothing of a morsel changes, wide ones in several files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_store.ids import PartitionId
from cdp_store.memory.validate import validate
from cdp_store.shard.store import Store
from cdp_store.snapshot import profile_tables
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.reader import read_manifest
from tests.raw_records import Change, Event, Record
from tests.store.contents import expected_contents, read_contents
from tests.store.snapshot.test_snapshot import ANN, BOB, deliver, forget_log, opened, snapshot

CHANGES: list[Record] = [
    Change(ANN, 4, {"plan": "gold", "age": 30, "score": 12.95, "vip": True, "tags": ["a", 1]}),
    Change(ANN, 6, {"plan": None, "age": -7, "score": 1e300}),
    Change(BOB, 5, {"plan": 7, "late": "x"}),
    Change(BOB, 3, {"plan": "was", "early": 0.1}),
    Change(BOB, 9, {"late": None}),
]


def manifest_of(store: Store) -> Manifest:
    taken = store.newest_snapshot
    assert taken is not None
    return read_manifest(store.snapshot_place, taken.number)


def profile_files(store: Store) -> set[str]:
    entry = manifest_of(store).partitions[0]
    return {each.file for morsel in entry.morsels for each in (morsel, *morsel.blocks)}


def check_restored(directory: Path, records: list[Record]) -> None:
    forget_log(directory)
    with opened(directory) as store:
        held = store.partitions[PartitionId(0)]
        assert read_contents(held.capture()) == expected_contents(records)
        validate(held._memory)
        deliver(store, [Change(ANN, 7, {"age": 1 << 40, "plan": "new"}), Change(BOB, 1, {"plan": 1})])
        assert read_contents(held.capture()) == expected_contents(
            [*records, Change(ANN, 7, {"age": 1 << 40, "plan": "new"}), Change(BOB, 1, {"plan": 1})]
        )
        validate(held._memory)


def test_profiles_are_written_again_only_when_something_of_them_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, CHANGES)
        snapshot(store)
        first = profile_files(store)
        deliver(store, [Event(ANN, "View", 10, {"n": 1})])
        snapshot(store)
        assert profile_files(store) == first
        deliver(store, [Event(ANN, "View", 2, {"n": 1})])  # earlier than all before: created then
        snapshot(store)
        second = profile_files(store)
        assert not second & first
    with opened(tmp_path) as store:  # files that were loaded from are shared too
        deliver(store, [Event(ANN, "View", 11, {"n": 1})])
        snapshot(store)
        assert profile_files(store) == second
        deliver(store, [Change(BOB, 12, {"plan": "other"})])
        snapshot(store)
        assert not profile_files(store) & second
        assert store.verify_snapshots().problems == []
    events: list[Record] = [Event(ANN, "View", at, {"n": 1}) for at in (10, 2, 11)]
    check_restored(tmp_path, [*CHANGES, *events, Change(BOB, 12, {"plan": "other"})])


@pytest.mark.parametrize("columns_max", [4, 6])
def test_more_columns_than_a_file_takes_stand_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns_max: int
) -> None:
    monkeypatch.setattr(profile_tables, "_COLUMNS_MAX", columns_max)
    with opened(tmp_path) as store:
        deliver(store, CHANGES)
        snapshot(store)
        assert len(profile_files(store)) > 1
    check_restored(tmp_path, CHANGES)


def test_what_is_current_is_no_part_of_the_history(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, CHANGES)
        snapshot(store)
        entry = manifest_of(store).partitions[0]
        history = {
            entry.attribute_names[name]: sum(each.rows for each in chunks) for name, chunks in entry.changes.items()
        }
        assert history == {"plan": 2, "age": 1, "score": 1, "late": 1}
