"""On a full disk a cluster starts, answers and erases: nothing that a start writes is needed for that."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from cdp_router.cluster.address_book import AddressBook
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.process.data_directory import check_directory
from cdp_router.process.supervisor import Supervisor
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_store.errors import StorageFull
from cdp_store.ids import PartitionId
from cdp_store.log.reserve import RESERVE_NAME
from cdp_store.outside.seams import AppendFile, OsFiles
from tests.router.gateway.test_gateway_dead_letters import letter
from tests.router.local_cluster import CLUSTER, open_store


class FullDisk(OsFiles):
    """Nothing new can be written until the room that is held back is given free."""

    def __init__(self) -> None:
        self.is_full = False

    def open_append(self, path: Path) -> AppendFile:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().open_append(path)

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.is_full = self.is_full and path.name != RESERVE_NAME


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no file can be opened for writing."""

    def refuse(files: OsFiles, path: Path) -> AppendFile:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OsFiles, "open_append", refuse)


def test_an_erasure_may_use_the_room_held_back_for_what_it_writes_down_first(tmp_path: Path) -> None:
    disk = FullDisk()
    store = open_store(tmp_path, files=disk)
    disk.is_full = True
    with pytest.raises(StorageFull):
        store.documents.put(PartitionId(0), "segments", 0, b"1")
    assert (tmp_path / "log" / RESERVE_NAME).exists()
    store.documents.put(PartitionId(0), "erasures", 0, b"2", essential=True)
    assert not (tmp_path / "log" / RESERVE_NAME).exists()
    store.close()
    store = open_store(tmp_path)
    assert store.documents.of(PartitionId(0))["erasures"].content == b"2"
    store.close()


def test_without_room_routers_are_told_where_shards_are_when_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, said = ClusterDirectory(tmp_path), list[str]()
    directory.load_or_create(1, 2)
    supervisor = Supervisor(directory, "127.0.0.1", 0, said.append)
    with monkeypatch.context() as patch:
        fill(patch)
        supervisor._tell_addresses()
        supervisor._tell_addresses()
        [router] = supervisor._routers
        assert router.more_arguments == ["--shards-at", '{"0":"127.0.0.1:0"}']
        assert len(said) == 1 and "addresses.json cannot be written" in said[0]
    asyncio.run(supervisor._follow_members())
    assert router.more_arguments == [] and directory.addresses() == {0: "127.0.0.1:0"}


def test_addresses_that_a_router_was_told_hold_until_the_file_changes(tmp_path: Path) -> None:
    directory = ClusterDirectory(tmp_path)
    directory.load_or_create(1, 2)
    directory.set_addresses({0: "old:1"})
    routing = Routing(CLUSTER, {})

    async def run() -> None:
        book = AddressBook(directory, routing, GrpcShardClient, first={0: "told:2"})
        book.read()
        assert routing.shards[0].address == "told:2"
        directory.set_addresses({0: "new:3"})
        book.read()
        assert routing.shards[0].address == "new:3"
        await book.close()

    asyncio.run(run())


def test_a_start_that_finds_no_room_checks_its_directory_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = ClusterDirectory(tmp_path)
    directory.load_or_create(1, 2)
    store = open_store(directory.shard_path(0), cluster=directory.load())
    store.close()
    fill(monkeypatch)
    assert check_directory(directory) == []


def test_letters_of_a_person_are_forgotten_where_their_sizes_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = DeadLetters(tmp_path)
    kept.add([letter(record={"userId": "ann-4711"})])
    fill(monkeypatch)
    assert kept.forget({"ann-4711"}) == 1
    assert kept.problems() == []
