"""Small files: there entirely or not at all, by one writer or several; what was changed is never called unchanged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cdp_store.directory.documents import FOLDER, Documents
from cdp_store.directory.holdings import FIRST_EPOCH, Holding, Holdings, HoldingState, read_holdings
from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.errors import StorageFull, StoreFailed
from cdp_store.ids import PartitionId
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import AppendFile, OsFiles
from cdp_store.outside.whole_files import NotDurable, write_durably
from cdp_store.shard.shard_files import begin_directory
from cdp_store.shard.store import Store

IDENTITY = ShardIdentity("c", 0, (0, 1))
FIRST = PartitionId(0)
ERRORS = [errno.ENOSPC, errno.EIO]


@pytest.mark.parametrize("error", ERRORS)
def test_what_fails_before_the_rename_changes_nothing_and_leaves_nothing(tmp_path: Path, error: int) -> None:
    path, files = tmp_path / "file", FaultyFiles()
    write_durably(path, b"old", files)
    for operation in ("open", "write", "sync", "rename"):
        files.plan(Fault(operation, 1, error, written=2))
        with pytest.raises(OSError, match="planned fault") as caught:
            write_durably(path, b"new", files)
        assert not isinstance(caught.value, NotDurable)
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("error", ERRORS)
def test_what_fails_after_the_rename_is_no_want_of_room(tmp_path: Path, error: int) -> None:
    path, files = tmp_path / "file", FaultyFiles()
    write_durably(path, b"old", files)
    files.plan(Fault("sync_directory", 1, error))
    with pytest.raises(NotDurable, match="has its new content") as caught:
        write_durably(path, b"new", files)
    assert caught.value.errno == errno.EIO and path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


class _Crossing(OsFiles):
    """A file system on which another writer writes the same file while the first one does."""

    def __init__(self, path: Path) -> None:
        self._path, self._has_crossed = path, False

    def open_append(self, path: Path) -> AppendFile:
        file = super().open_append(path)
        if not self._has_crossed:
            self._has_crossed = True
            file.write(b"")
            write_durably(self._path, b"the other one, longer", self)
        return file


def test_two_writers_of_one_file_do_not_write_into_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"mine", _Crossing(path))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"mine"}


@pytest.mark.parametrize("error", ERRORS)
def test_a_document_that_is_in_place_and_not_durable_stops_the_shard(tmp_path: Path, error: int) -> None:
    files = FaultyFiles()
    begin_directory(tmp_path, IDENTITY, [FIRST], FIRST_EPOCH, files)
    documents = Documents(tmp_path, IDENTITY, files)
    documents.put(FIRST, "d", 0, b"old")
    files.plan(Fault("sync_directory", 2, error))  # the first one is of the folder, before anything is written
    with pytest.raises(StoreFailed):
        documents.put(FIRST, "d", 1, b"new")
    assert Documents(tmp_path, IDENTITY, OsFiles()).of(FIRST)["d"].content == b"new"
    with pytest.raises(StoreFailed):  # until a start has read what is there
        documents.put(FIRST, "d", 1, b"newer")


def test_a_document_without_room_for_it_changes_nothing_at_any_operation(tmp_path: Path) -> None:
    """Told StorageFull, nothing was changed; told nothing, everything was; told StoreFailed, either."""
    for number in range(1, 20):
        folder, files = tmp_path / str(number), FaultyFiles()
        begin_directory(folder, IDENTITY, [FIRST], FIRST_EPOCH, files)
        documents = Documents(folder, IDENTITY, files)
        files.plan(Fault("any", number, errno.ENOSPC))
        said = "done"
        try:
            documents.put(FIRST, "d", 0, b"new")
        except StorageFull:
            said = "nothing"
        except StoreFailed:
            said = "failed"
        there = Documents(folder, IDENTITY, OsFiles()).of(FIRST)
        assert said == "failed" or (said == "done") == bool(there), (number, files.struck)
        assert said != "done" or documents.of(FIRST) == there


@pytest.mark.parametrize("error", ERRORS)
def test_a_holding_that_is_in_place_and_not_durable_stops_the_shard(tmp_path: Path, error: int) -> None:
    files = FaultyFiles()
    begin_directory(tmp_path, IDENTITY, [FIRST], FIRST_EPOCH, files)
    holdings = Holdings(tmp_path, IDENTITY, files)
    files.plan(Fault("sync_directory", 1, error))
    with pytest.raises(StoreFailed):
        holdings.change(PartitionId(1), Holding(HoldingState.OWNED, 9))
    assert PartitionId(1) in read_holdings(tmp_path, IDENTITY)


def test_a_start_removes_what_killed_writers_left(tmp_path: Path) -> None:
    def started() -> None:
        store = Store(tmp_path, IDENTITY, (1, 2), OsFiles())
        store.recover(lambda *_: None)
        store.documents.put(
            FIRST,
            "d",
            store.documents.of(FIRST)["d"].version if store.documents.of(FIRST) else 0,
            b"",
        )
        store.close()

    started()
    for folder in (tmp_path, tmp_path / "log", tmp_path / FOLDER):
        (folder / "holdings.json.0123456789ab.tmp").write_bytes(b"half of it")
        (folder / "identity.tmp").write_bytes(b"of an earlier version")
    started()
    assert not list(tmp_path.rglob("*.tmp"))
