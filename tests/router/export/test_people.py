"""Everything about one person, by any identifier: whatever came in, from wherever it stands, and how it came in."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cdp.v1 import admin_pb2, identity_pb2, profile_pb2, query_pb2, shard_pb2

from cdp_router.client.exporting import (
    CHANGES_FILE,
    EVENTS_FILE,
    PERSON_FILE,
    ExportIncomplete,
    write_json,
    write_json_file,
    write_parquet,
)
from cdp_router.erasure.erasures import Erasures
from cdp_router.erasure.retention import set_retention
from cdp_router.errors import PersonChanged, ProfileNotFound
from cdp_router.identity.identities import Identities
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster

DAY_MS = 86_400_000


def export(cluster: LocalCluster, kind: str, value: str) -> list[profile_pb2.ExportProfileResponse]:
    """All that an export gives."""

    async def collect() -> list[profile_pb2.ExportProfileResponse]:
        return [each async for each in cluster.asking.people.export((kind, value), far_deadline())]

    return cluster.run(collect())


def document(responses: list[profile_pb2.ExportProfileResponse]) -> Any:
    """The JSON document of an export."""
    out = io.StringIO()
    write_json(responses, out)
    return json.loads(out.getvalue())


def one_person(cluster: LocalCluster) -> None:
    """Ann, under a user id, an e-mail address and two devices, on several partitions; and Bob."""
    cluster.ingest(rows(
        ["View", None, "d0", NOW_MS - 90, "m0", {"n": 1, "tags": ["a", 2]}],
        ["View", None, "d1", NOW_MS - 90, "m1", {"n": 1, "tags": ["a", 2]}],
        [None, None, "d1", NOW_MS - 85, "m2", {"plan": "free"}], batch_id=b"1",
    ))  # fmt: skip
    cluster.ingest(rows(
        ["View", "ann", None, NOW_MS - 90, "m3", {"n": 2}], ["Buy", "bob", None, NOW_MS - 80, "m4", {"amount": 1.5}],
        [None, "ann", None, NOW_MS - 70, "m5", {"plan": "gold", "age": 30}], batch_id=b"2",
    ))  # fmt: skip
    cluster.ingest(rows(["Buy", "ann", "d0", NOW_MS - 60, "m6", {"amount": 2.5}, {"email": "a@x"}], batch_id=b"3"))
    cluster.ingest(rows(["View", None, "d1", NOW_MS - 50, None, {}, {"email": "a@x"}], batch_id=b"4"))
    cluster.ingest(rows([None, "ann", None, NOW_MS - 40, "m7", {"plan": None}], batch_id=b"5"))


@pytest.mark.parametrize("is_snapshot", [False, True])
def test_an_export_by_any_identifier_has_everything_of_all_parts(tmp_path: Path, is_snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person(cluster)
        if is_snapshot:
            cluster.seal()
            for server in cluster.servers:
                cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))
        exports = [
            document(export(cluster, kind, value))
            for kind, value in (("user_id", "ann"), ("email", "a@x"), ("anonymous_id", "d0"), ("anonymous_id", "d1"))
        ]
        assert exports.count(exports[0]) == len(exports)
        found = exports[0]
        assert found["person"]["profile"] == {"kind": "user_id", "value": "ann"}
        assert {(each["kind"], each["value"]) for each in found["person"]["identifiers"]} == {
            ("user_id", "ann"), ("email", "a@x"), ("anonymous_id", "d0"), ("anonymous_id", "d1"),
        }  # fmt: skip
        assert all(each["holds"] for each in found["person"]["bindings"]) and len(found["person"]["bindings"]) >= 3
        assert found["totals"] == {"events": 5, "changes": 4}
        events = [
            (each["event"], each["properties"], each.get("message_id"), each["source_id"])
            for each in found["records"] if "event" in each
        ]  # fmt: skip
        assert sorted(events[:3], key=str) == [
            ("View", {"n": 1, "tags": ["a", 2]}, "m0", "d0"),
            ("View", {"n": 1, "tags": ["a", 2]}, "m1", "d1"),
            ("View", {"n": 2}, "m3", "ann"),
        ]
        assert events[3:] == [("Buy", {"amount": 2.5}, "m6", "ann"), ("View", {}, None, "d1")] or events[3:] == [
            ("Buy", {"amount": 2.5}, "m6", "ann"), ("View", {}, None, "a@x"),
        ]  # fmt: skip
        changes = [
            (each["attributes"], each.get("message_id"), each["source_id"])
            for each in found["records"] if "attributes" in each
        ]  # fmt: skip
        assert changes[0] == ({"plan": "free"}, "m2", "d1")
        assert sorted(changes[1:3], key=str) == [({"age": 30}, "m5", "ann"), ({"plan": "gold"}, "m5", "ann")]
        assert changes[3] == ({"plan": None}, "m7", "ann")
        assert all(each["received"].startswith("2026-01-01T00:00:00") for each in found["records"])


def test_the_origins_of_a_merged_profile_are_those_of_its_parts(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person(cluster)
        found = cluster.profile(user_id="ann", with_origins=True, events_max=4)
        told = [(event.name, event.origin.message_id, event.origin.source.value) for event in found.events]
        assert told[1] == ("Buy", "m6", "ann")
        whole = cluster.profile(anonymous_id="d1", with_origins=True)
        ids = {(event.origin.message_id, event.origin.source.value) for event in whole.events}
        assert {("m0", "d0"), ("m1", "d1"), ("m3", "ann"), ("m6", "ann")} <= ids
        assert [event.origin for event in whole.events[:4]] == [event.origin for event in found.events]
        assert all(event.HasField("origin") for event in whole.events)


def test_a_hot_profile_comes_in_pieces(tmp_path: Path) -> None:
    count = 5000
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(*(["View", "hot", None, NOW_MS - n, f"m{n}", {"n": n}] for n in range(count))))
        responses = export(cluster, "user_id", "hot")
        assert sum(1 for each in responses if each.WhichOneof("part") == "records") > 1
        records = document(responses)["records"]
        assert [(each["message_id"], each["properties"]["n"]) for each in records] == [
            (f"m{n}", n) for n in reversed(range(count))
        ]


def test_files_hold_what_the_document_does_and_a_broken_export_leaves_none(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "data") as cluster:
        one_person(cluster)
        responses = export(cluster, "user_id", "ann")
        write_parquet(responses, tmp_path / "ann")
        events = pq.read_table(tmp_path / "ann" / EVENTS_FILE).to_pylist()
        assert [event["event"] for event in events] == ["View", "View", "View", "Buy", "View"]
        assert events[3]["properties"][0]["number"] == 2.5
        changes = pq.read_table(tmp_path / "ann" / CHANGES_FILE).to_pylist()
        assert {(each["attribute"], each["value_text"], each["value_integer"]) for each in changes} == {
            ("plan", "free", None), ("plan", "gold", None), ("age", None, 30), ("plan", None, None),
        }  # fmt: skip
        assert json.loads((tmp_path / "ann" / PERSON_FILE).read_text())["totals"] == {"events": 5, "changes": 4}
        for write, path in ((write_parquet, tmp_path / "broken"), (write_json_file, tmp_path / "broken.json")):
            with pytest.raises(ExportIncomplete):
                write(responses[:-1], path)
            assert not path.exists()
            write(responses, path)
            assert path.exists()


def test_what_retention_left_is_told_and_nobody_is_an_error(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        old = NOW_MS - 400 * DAY_MS
        cluster.ingest(rows(*(["View", "ann", None, old + n, None, {}] for n in range(3))))
        rule = admin_pb2.RetentionRule(event="View", days=30)
        cluster.run(set_retention(rule, cluster.routing, far_deadline()))
        [profile] = document(export(cluster, "user_id", "ann"))["profiles"]
        [dropped] = profile["dropped"]
        assert (dropped["name"], dropped["count"]) == ("View", "3")
        with pytest.raises(ProfileNotFound):
            export(cluster, "user_id", "nobody")


def test_what_retention_left_goes_with_a_profile_wherever_it_moves(tmp_path: Path) -> None:
    old = NOW_MS - 400 * DAY_MS
    with local_cluster(tmp_path) as cluster:
        for number in range(6):
            events = (["View", None, f"d{number}", old + n, None, {}] for n in range(3))
            cluster.ingest(rows(*events, batch_id=b"%d" % number))
        rule = admin_pb2.RetentionRule(event="View", days=30)
        cluster.run(set_retention(rule, cluster.routing, far_deadline()))
        links = [["Buy", f"u{n % 3}", f"d{n}", NOW_MS - n, None, {}] for n in range(6)]
        cluster.ingest(rows(*links, batch_id=b"links"))
        assert cluster.query('count("View") = 6').count == cluster.query("everyone").count == 3
    with local_cluster(tmp_path) as cluster:
        assert cluster.query('count("View") = 6').count == 3
        [profile] = document(export(cluster, "anonymous_id", "d4"))["profiles"]
        assert [(each["name"], each["count"]) for each in profile["dropped"]] == [("View", "6")]
        request = identity_pb2.UnlinkIdentifierRequest(
            identifier=query_pb2.Identifier(kind="anonymous_id", value="d4"),
            profile=query_pb2.Identifier(kind="user_id", value="u1"),
        )
        assert cluster.run(Identities(cluster.routing).unlink(request, far_deadline())).changed
        assert cluster.query('count("View") = 6').count == 3
        assert cluster.query("everyone").count == 4, "the device was there, but what was dropped stays"


def test_a_person_that_changes_while_being_exported_is_told(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(*(["View", "ann", "d0", NOW_MS - n, None, {}] for n in range(5000))))

        async def erased_meanwhile() -> int:
            seen = 0
            async for _ in cluster.asking.people.export(("user_id", "ann"), far_deadline()):
                seen += 1
                if seen == 3:
                    request = admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind="user_id", value="ann"))
                    await Erasures(cluster.routing).erase(request, far_deadline())
            return seen

        with pytest.raises(PersonChanged):
            cluster.run(erased_meanwhile())
