"""Row 16: a log record that is intact and cannot be replayed is named, never passed over, and can be set aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_router.restore.salvaging import salvaged
from cdp_store.directory.shard_directory import log_path
from cdp_store.errors import RecordNotReplayed
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.log.controls import Erasure, Retention, encode_erasure, encode_retention
from cdp_store.log.format import FILE_HEADER_BYTES, LogEntry, RecordKind
from cdp_store.log.local import LocalLog
from cdp_store.log.segment_reader import read_located
from cdp_store.memory.digest import digest
from cdp_store.outside.seams import OsFiles
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, encode_batch
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from tests.raw_records import Event, user
from tests.shards import batch_of

FIRST = PartitionId(0)


def started(path: Path) -> Store:
    """A shard of a cluster of one shard and one partition, recovered."""
    directory = ClusterDirectory(path)
    cluster = directory.load_or_create(1, 1)
    store = Store(directory.shard_path(0), cluster.shard_identity(0), cluster.hash_key, OsFiles())
    try:
        store.recover(lambda *_: None)
    except Exception:
        store.close()
        raise
    return store


def deliver(path: Path, *names: str) -> str:
    """One batch for each event name; the digest afterwards."""
    store = started(path)
    for name in names:
        store.commit([Delivery(FIRST, batch_of([Event(user("u"), name, 1)]))])
    found = str(digest(store.partitions[FIRST].capture()))
    store.close()
    return found


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A batch that decodes, and that this program fails to apply."""
    apply = Partition.apply

    def failing(self: Partition, batch: RecordBatch, sequence: SequenceNumber) -> object:
        if "poison" in batch.names:
            raise IndexError("out of bounds")
        return apply(self, batch, sequence)

    monkeypatch.setattr(Partition, "apply", failing)
    return encode_batch(batch_of([Event(user("u"), "poison", 1)]))


def put_logged(path: Path, payload: bytes, kind: RecordKind = RecordKind.BATCH) -> None:
    """Log a record as an earlier, faulty version might have."""
    directory = log_path(ClusterDirectory(path).shard_path(0))
    log, last = LocalLog(directory, OsFiles()), dict[PartitionId, SequenceNumber]()
    log.replay(lambda record: last.update({record.partition: record.sequence}), lambda *_: None)
    log.append([LogEntry(FIRST, SequenceNumber(last.get(FIRST, 0) + 1), payload, kind)])
    log.close()


@pytest.mark.parametrize("follower", [(), ("C",)], ids=["last", "in the middle"])
def test_a_record_that_cannot_be_replayed_is_named_and_can_be_set_aside(
    tmp_path: Path, poison: bytes, follower: tuple[str, ...]
) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    deliver(data, "A", "B")
    put_logged(data, poison)
    for name in follower:
        put_logged(data, encode_batch(batch_of([Event(user("u"), name, 1)])))
    before = {path: path.read_bytes() for path in (data / "shard-0").rglob("*.cdplog")}
    with pytest.raises(RecordNotReplayed) as caught:
        started(data)
    (path,) = before
    offset = [at for _, at, record in read_located(path.parent, {}, lambda *_: None) if record.sequence == 3][0]
    said = str(caught.value)
    for part in (str(path), f"byte {offset}", "kind BATCH", "partition 0", "sequence 3", "--salvage", "IndexError"):
        assert part in said
    assert {each: each.read_bytes() for each in before} == before
    with pytest.raises(RecordNotReplayed):
        restore(str(data), tmp_path / "restored", Wanted(), lambda _: None, 7)
    lines = "\n".join(salvaged(ClusterDirectory(data)))
    assert f"{path} is damaged from byte {offset}" in lines and "kept as it was in" in lines
    assert (path.parent / "quarantine" / f"{path.name}.0").read_bytes() == before[path]
    assert deliver(data) == deliver(other, "A", "B", *follower)
    assert "nothing to salvage" in "\n".join(salvaged(ClusterDirectory(data)))


@pytest.mark.parametrize(
    ("kind", "payload", "method"),
    [
        (RecordKind.ERASE, lambda: encode_erasure(Erasure((encode_identifier("user_id", "x"),))), "erase"),
        (RecordKind.RETENTION, lambda: encode_retention(Retention({"E": 3}, {})), "retain"),
        (RecordKind.BATCH, lambda: encode_batch(batch_of([Event(user("u"), "E", 1)])), "maintain"),
    ],
)
@pytest.mark.parametrize("error", [IndexError, AssertionError, TypeError, KeyError])
def test_records_of_every_kind_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: RecordKind,
    payload: Callable[[], bytes],
    method: str,
    error: type[Exception],
) -> None:
    deliver(tmp_path)
    put_logged(tmp_path, payload(), kind)

    def failing(*_: object) -> None:
        raise error("poison")

    monkeypatch.setattr(Partition, method, failing)
    with pytest.raises(RecordNotReplayed, match=rf"byte {FILE_HEADER_BYTES}: the record of kind {kind.name}") as caught:
        started(tmp_path)
    assert error.__name__ in str(caught.value)


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_memory_and_files_that_fail_are_no_property_of_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    deliver(tmp_path, "A")

    def failing(*_: object) -> None:
        raise error("for now")

    with monkeypatch.context() as patched:
        patched.setattr(Partition, "apply", failing)
        with pytest.raises(error, match="for now"):
            started(tmp_path)
    deliver(tmp_path)


def test_several_records_are_set_aside_one_after_the_other(tmp_path: Path, poison: bytes) -> None:
    deliver(tmp_path / "data", "A")
    for payload in (poison, encode_batch(batch_of([Event(user("u"), "B", 1)])), poison, poison):
        put_logged(tmp_path / "data", payload)
    list(salvaged(ClusterDirectory(tmp_path / "data")))
    assert deliver(tmp_path / "data") == deliver(tmp_path / "other", "A", "B")
