"""Records that broke a rule: kept apart whatever happens, seen by no question, and taken once when the rules allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from cdp.v1 import admin_pb2, query_pb2, schema_pb2, shard_pb2

import cdp_store.shard.store
from cdp_router.cluster.shard_methods import CHANGE_QUARANTINE, UnaryMethod
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import ProfileNotFound, ShardUnavailable
from cdp_router.ingest import quarantine as quarantining
from cdp_router.ingest.quarantine import Quarantine
from cdp_router.ingest.quarantined import to_quarantined
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_store.ids import encode_identifier
from cdp_store.partition.quarantine import Quarantined
from tests.router.fake_shards import FailingShard, call_error
from tests.router.ingest.test_schema import Schema, charged, checked_cluster
from tests.router.local_cluster import CLUSTER, NOW_MS, far_deadline, open_store

BAD = ["Charged", "ann", "d1", NOW_MS - 9, "m1", {"amount": "12"}]
BAD_WITHOUT_ID = ["Charged", "ann", None, NOW_MS - 8, None, {"amount": "13", "tags": ["a", 1]}]
GOOD = ["Charged", "bob", None, NOW_MS - 7, "m3", {"amount": 14}]


def listed(schema: Schema, page_size: int = 100) -> list[schema_pb2.QuarantinedRecord]:
    """All records in quarantine."""
    quarantine, start, found = Quarantine(schema.cluster.routing, schema.gate), (0, 0, 0), []
    while True:
        page, following = schema.cluster.run(quarantine.page(start, page_size, far_deadline()))
        found += [to_quarantined(entry, at) for entry, at in page]
        if following is None:
            return found
        assert len(page) == page_size
        start = following


def redrive(schema: Schema, event: str | None = None) -> tuple[int, int, int]:
    """Take what can be taken: (taken, duplicates, kept)."""
    told = schema.cluster.run(Quarantine(schema.cluster.routing, schema.gate).redrive(event, far_deadline()))
    return told.taken, told.duplicates, told.kept


def total(schema: Schema) -> int:
    """How many records there are."""
    return schema.cluster.run(Quarantine(schema.cluster.routing, schema.gate).total(far_deadline()))


def test_the_first_records_kept_apart_are_told_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantining, "ERRORS_TOLD_MAX", 2)
    bad = [["Charged", f"u{n}", None, NOW_MS, f"m{n}", {"amount": "12"}] for n in range(7)]
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        result = schema.take(GOOD, *bad)
        assert [each.index for each in result.warnings] == [1, 2]
        assert (result.accepted, result.quarantined, result.warnings_omitted, total(schema)) == (1, 7, 5, 7)


def _nothing(folder: Path) -> None:
    pass


def _from_snapshots(folder: Path) -> None:
    for _ in range(2):
        with checked_cluster(folder) as schema:
            for server in schema.cluster.servers:
                schema.cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))


@pytest.mark.parametrize("meanwhile", [_nothing, _from_snapshots])
def test_kept_apart_until_the_rules_allow_and_then_taken_once(
    tmp_path: Path, meanwhile: Callable[[Path], None]
) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        for _ in range(2):  # a batch that is sent again changes nothing
            result = schema.take(BAD, GOOD, BAD_WITHOUT_ID)
            assert result.quarantined == 2 and not result.errors
            assert [(each.index, each.code) for each in result.warnings] == [
                (0, "SCHEMA_QUARANTINED"), (2, "SCHEMA_QUARANTINED"),
            ]  # fmt: skip
    meanwhile(tmp_path)
    with checked_cluster(tmp_path) as schema:
        assert schema.cluster.members("everyone")[0] == [("user_id", "bob")]
        found = listed(schema)
        assert listed(schema, 1) == found
        assert [(each.identifier.value, each.event, each.reason) for each in found] == [
            ("ann", "Charged", "'amount' must be of type number")
        ] * 2
        assert found[0].message_id == "m1" and found[1].message_id.startswith("quarantine-")
        assert found[1].values["tags"].list.items[0].text == "a"
        assert redrive(schema) == (0, 0, 2)
        schema.set(charged("QUARANTINE") | {"properties": [{"name": "amount", "required": True}]})
        assert redrive(schema, "Other") == (0, 0, 0)
        assert redrive(schema, "Charged") == (2, 0, 0)
        assert (total(schema), listed(schema)) == (0, [])
        assert schema.cluster.query('count("Charged") = 2').count == 1
        profile = schema.cluster.profile(anonymous_id="d1")
        assert profile.identifiers[0].value == "ann", "its links are taken with it"
    meanwhile(tmp_path)
    with checked_cluster(tmp_path) as schema:
        assert (redrive(schema), total(schema)) == ((0, 0, 0), 0)
        assert schema.cluster.query('count("Charged") = 2').count == 1


class ReleaseFails(FailingShard):
    """Lets no records go while `fails`."""

    fails = False

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is CHANGE_QUARANTINE and ReleaseFails.fails:
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        return await super().call(method, request, deadline)


def test_a_redrive_that_stops_before_it_lets_go_takes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checked_cluster(tmp_path, lambda _, client: ReleaseFails(client)) as schema:
        schema.set(charged("QUARANTINE"))
        schema.take(BAD, BAD_WITHOUT_ID)
        schema.set()
        monkeypatch.setattr(ReleaseFails, "fails", True)
        with pytest.raises(ShardUnavailable):
            redrive(schema)
        monkeypatch.setattr(ReleaseFails, "fails", False)
    with checked_cluster(tmp_path) as schema:
        assert redrive(schema) == (0, 2, 0)
        assert total(schema) == 0
        assert schema.cluster.query('count("Charged") = 2').count == 1


def test_an_operation_in_quarantine_is_redriven_into_the_profile_it_belongs_to_by_then(tmp_path: Path) -> None:
    def operations(*named: str) -> list[list[Any]]:
        return [[None, None, device, NOW_MS - 5, "op", {}, {}, {"increment": {"visits": 1}}] for device in named]

    with checked_cluster(tmp_path) as schema:
        schema.set({"event": "", "mode": "QUARANTINE", "properties": [{"name": "visits", "type": "TEXT"}]})
        assert schema.take(*operations("d0", "d1", "d2"), batch_id=b"1").quarantined == 3
        schema.take(*(["Login", "ann", device, NOW_MS - 4, device, {}] for device in ("d0", "d1")), batch_id=b"2")
        schema.set()
        assert redrive(schema) == (3, 0, 0)
        assert total(schema) == 0
        assert schema.cluster.query("visits = 2").count == 1 == schema.cluster.query("visits = 1").count
        result = schema.take(*operations("d0", "d1", "d2"), batch_id=b"3")
        assert (result.accepted, result.duplicates) == (0, 3)


def test_an_erasure_reaches_the_quarantine_by_records_and_by_links(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        schema.take(BAD, ["Charged", "bob", "d9", NOW_MS, "m4", {}], GOOD)
        named = query_pb2.Identifier(kind="user_id", value="ann")
        request = admin_pb2.EraseProfileRequest(other=named, purge=True)
        receipt = schema.cluster.run(Erasures(schema.cluster.routing).erase(request, far_deadline()))
        assert not any(scan.found for scan in receipt.scans)
        assert [each.identifier.value for each in listed(schema)] == ["bob"]
        device = query_pb2.Identifier(kind="anonymous_id", value="d9")
        request = admin_pb2.EraseProfileRequest(other=device, purge=True)
        receipt = schema.cluster.run(Erasures(schema.cluster.routing).erase(request, far_deadline()))
        assert not any(scan.found for scan in receipt.scans), "not even in what a record in quarantine says"
        schema.set()
        assert redrive(schema) == (1, 0, 0)
        assert schema.cluster.members("everyone")[0] == [("user_id", "bob")]


def test_a_full_quarantine_refuses_and_what_is_dropped_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"), {"event": "", "mode": "QUARANTINE", "properties": [], "only_these": True})
        assert schema.take(BAD, [None, "ann", None, NOW_MS, None, {"plan": "x"}]).quarantined == 2
        monkeypatch.setattr(cdp_store.shard.store, "QUARANTINE_BYTES_MAX", 0)
        full = schema.take(BAD_WITHOUT_ID, GOOD, batch_id=b"2")
        assert [(error.index, error.code) for error in full.errors] == [(0, "QUARANTINE_FULL")]
        assert (full.accepted, full.quarantined) == (1, 0)
        quarantine = Quarantine(schema.cluster.routing, schema.gate)
        assert schema.cluster.run(quarantine.drop("", far_deadline())) == 1
        assert [each.event for each in listed(schema)] == ["Charged"]
        assert schema.cluster.run(quarantine.drop(None, far_deadline())) == 1
        assert total(schema) == 0


def test_the_quarantine_comes_along_into_another_number_of_partitions(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with checked_cluster(source) as schema:
        schema.set(charged("QUARANTINE"))
        schema.take(BAD, BAD_WITHOUT_ID, ["Charged", "bob", None, NOW_MS, "m4", {}], GOOD)
    (source / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    restore(str(source), tmp_path / "new", Wanted(shards=1, partitions=3), lambda _: None, 0)
    store = open_store(tmp_path / "new" / "shard-0", cluster=ClusterDirectory(tmp_path / "new").load())
    entries: list[Any] = [each for held in store.partitions.values() for each in held.quarantine.entries.values()]
    store.close()
    assert all(isinstance(each, Quarantined) for each in entries)
    assert sorted(reason for each in entries for reason in each.reasons) == [
        "'amount' is required", "'amount' must be of type number", "'amount' must be of type number",
    ]  # fmt: skip


def test_what_was_taken_before_a_rule_came_is_not_kept_apart_when_its_batch_is_sent_again(tmp_path: Path) -> None:
    other = ["Charged", "ann", None, NOW_MS - 8, None, {"amount": "14", "tags": ["a", 1]}]
    with checked_cluster(tmp_path) as schema:
        assert schema.take(BAD_WITHOUT_ID, GOOD, batch_id=b"first").accepted == 2
        schema.set(charged("QUARANTINE"))
        again = schema.take(BAD_WITHOUT_ID, GOOD, batch_id=b"first")
        assert (again.duplicates, again.quarantined, again.accepted) == (2, 0, 0)
        assert not again.warnings and total(schema) == 0
        mixed = schema.take(BAD_WITHOUT_ID, other, GOOD, batch_id=b"first")
        assert (mixed.duplicates, mixed.quarantined) == (2, 1)
        assert [warning.index for warning in mixed.warnings] == [1]
        passing = ["Other", "ann", None, NOW_MS - 8, None, {}]
        fresh = schema.take(BAD_WITHOUT_ID, passing, batch_id=b"another")
        assert (fresh.duplicates, fresh.quarantined, fresh.accepted) == (0, 1, 1), "another batch says it again"
        schema.set()
        assert redrive(schema) == (2, 0, 0)
        assert schema.cluster.query('count("Charged") = 3').count == 1, "and once more for what another batch said"


OTHER_BAD = ["Charged", "ann", "d2", NOW_MS - 6, "m9", {"amount": "15"}]


@pytest.mark.parametrize("meanwhile", [_nothing, _from_snapshots])
@pytest.mark.parametrize("is_allowed", [False, True])
def test_records_from_before_an_erasure_are_neither_kept_apart_again_nor_taken(
    tmp_path: Path, meanwhile: Callable[[Path], None], is_allowed: bool
) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        assert schema.take(BAD, GOOD, batch_id=b"1").quarantined == 1
        request = admin_pb2.EraseProfileRequest(user_id="ann")
        schema.cluster.run(Erasures(schema.cluster.routing).erase(request, far_deadline()))
        assert total(schema) == 0
    meanwhile(tmp_path)
    with checked_cluster(tmp_path) as schema:
        if is_allowed:
            schema.set(charged("QUARANTINE") | {"properties": [{"name": "amount", "required": True}]})
        for batch_id in (b"1", b"2"):
            again = schema.take(BAD, GOOD, batch_id=batch_id)
            assert again.accepted == 0 and not again.errors
        assert (again.duplicates, again.quarantined) == (2, 0)
        assert (total(schema), listed(schema)) == (0, [])
        mixed = schema.take(BAD, OTHER_BAD, batch_id=b"3")
        assert mixed.duplicates == 1 and mixed.accepted + mixed.quarantined == 1, "a new record is somebody new's"
        if not is_allowed:
            assert [each.message_id for each in listed(schema)] == ["m9"]
            partitions = [each for server in schema.cluster.servers for each in server._store.partitions.values()]
            assert not any(each.quarantine.names(encode_identifier("anonymous_id", "d1")) for each in partitions)
            schema.set(charged("QUARANTINE") | {"properties": [{"name": "amount", "required": True}]})
            assert redrive(schema) == (1, 0, 0)
        assert schema.cluster.members("everyone")[0] == [("user_id", "ann"), ("user_id", "bob")]
        with pytest.raises(ProfileNotFound):
            schema.cluster.profile(anonymous_id="d1")


@pytest.mark.parametrize("meanwhile", [_nothing, _from_snapshots])
@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_record_that_stays_apart_without_an_erased_identifier_brings_it_back_no_more_when_it_is_sent_again(
    tmp_path: Path, meanwhile: Callable[[Path], None], is_allowed: bool
) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        schema.take(BAD, batch_id=b"1")
        request = admin_pb2.EraseProfileRequest(anonymous_id="d1")
        schema.cluster.run(Erasures(schema.cluster.routing).erase(request, far_deadline()))
    meanwhile(tmp_path)
    with checked_cluster(tmp_path) as schema:
        if is_allowed:
            schema.set()
        again = schema.take(BAD, batch_id=b"2")
        assert (again.accepted, again.duplicates, total(schema)) == (int(is_allowed), int(not is_allowed), 1)
        partitions = [each for server in schema.cluster.servers for each in server._store.partitions.values()]
        assert not any(each.quarantine.names(encode_identifier("anonymous_id", "d1")) for each in partitions)
        schema.set()
        assert redrive(schema) == (int(not is_allowed), int(is_allowed), 0)
        assert schema.cluster.members("everyone")[0] == [("user_id", "ann")]
        with pytest.raises(ProfileNotFound):
            schema.cluster.profile(anonymous_id="d1")


def test_what_was_taken_is_not_kept_apart_when_a_rule_came_meanwhile(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        assert schema.take(BAD, batch_id=b"1").accepted == 1
        schema.set(charged("QUARANTINE"))
        again = schema.take(BAD, batch_id=b"2")
        assert (again.accepted, again.duplicates, again.quarantined, total(schema)) == (0, 1, 0, 0)
