"""Identifiers linked through the router: who a question sees while profiles move, and after any crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import msgpack
import msgspec
import pyarrow as pa
import pytest
from cdp.v1 import admin_pb2, identity_pb2, ingest_pb2, moving_pb2, query_pb2, shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

import cdp_router.identity.identities
import cdp_store.identity.pieces
from cdp_router.cluster.agreement import compare
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import CHANGE_IDENTITY, READ_IDENTITIES, READ_IDENTITY, TAKE_SNAPSHOT, UnaryMethod
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import RequestInvalid
from cdp_router.identity.identities import Identities
from cdp_router.identity.transfers import Mover
from cdp_router.records.blocklist import Blocked
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_store.errors import ProfilesUnderway
from cdp_store.identity.identity_changes import Recall
from cdp_store.memory.digest import Digest, digest
from tests.identity_cluster import Link, Said, merged, never_linked
from tests.raw_records import Change, Event, User, anonymous, user
from tests.router.fake_shards import FailingShard, call_error
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster, open_store

ANN, BOB = user("ann"), user("bob")
DEVICES = [anonymous(f"d{number}") for number in range(3)]


def rows(*packed: list[Any], batch_id: bytes = b"b") -> ingest_pb2.Batch:
    """A batch of msgpack rows."""
    return ingest_pb2.Batch(batch_id=batch_id, msgpack_rows=msgpack.packb(packed))


def test_one_person_whatever_the_encoding(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(["View", None, "d0", NOW_MS - 50, "m1", {}], batch_id=b"1"))
        cluster.ingest(rows(["View", None, "d1", NOW_MS - 50, "m2", {}], batch_id=b"2"))
        cluster.ingest(rows(["View", None, "d2", NOW_MS - 50, "m3", {}], batch_id=b"3"))
        assert cluster.query("everyone").count == 3
        cluster.ingest(rows(["View", "ann", "d0", NOW_MS - 40, "m4", {}], batch_id=b"4"))
        assert cluster.query('count("View") = 2').count == 1
        record = ingest_pb2.Record(user_id="ann", message_id="m5")
        record.time.FromMilliseconds(NOW_MS - 30)
        record.alias.previous_id = "d1"
        cluster.ingest(ingest_pb2.Batch(batch_id=b"5", rows=ingest_pb2.RecordRows(records=[record])))
        assert cluster.query('count("View") = 3').count == 1
        table = pa.table({
            "user_id": ["ann", "ann"], "anonymous_id": ["d2", None], "identifiers.email": [None, "a@x"],
            "time": [NOW_MS - 20] * 2, "plan": ["gold", None],
        })  # fmt: skip
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        cluster.ingest(ingest_pb2.Batch(batch_id=b"6", arrow_columns=sink.getvalue().to_pybytes()))
        cluster.ingest(rows(["View", None, None, NOW_MS - 10, "m7", {}, {"email": "a@x"}], batch_id=b"7"))
        assert cluster.query('count("View") = 5 and plan = "gold"').count == 1
        assert cluster.members("everyone")[0] == [("user_id", "ann")]


def test_values_that_name_nobody_link_nobody(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        result = cluster.ingest(rows(
            ["View", "ann", "null", NOW_MS, "m1", {}], ["View", "bob", "000-00", NOW_MS, "m2", {}],
            ["View", "undefined", "", NOW_MS, "m3", {}], ["View", "Anonymous", "d0", NOW_MS, "m4", {}],
        ))  # fmt: skip
        assert [(error.index, error.code) for error in result.errors] == [(2, "IDENTIFIER_BLOCKED")]
        assert cluster.members("everyone")[0] == [("anonymous_id", "d0"), ("user_id", "ann"), ("user_id", "bob")]


def test_which_values_are_blocked_can_be_told() -> None:
    usual, own = Blocked.from_environment({}), Blocked.from_environment({"CDP_BLOCKED_IDENTIFIERS": "Test, nobody"})
    assert [usual(value) for value in ("NULL", "test", "0-0", "007")] == [True, False, True, False]
    assert [own(value) for value in ("null", "TEST", "nobody", "000")] == [False, True, True, True]


def test_a_retry_after_a_link_changes_nothing(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        early = rows(["View", None, "d0", NOW_MS - 50, "m1", {}], ["View", None, "d1", NOW_MS - 50, None, {}])
        cluster.ingest(early)
        cluster.ingest(rows(["View", "ann", "d0", NOW_MS, "m2", {}], batch_id=b"2"))
        again = cluster.ingest(early)
        assert (again.accepted, again.duplicates) == (0, 2)
        assert cluster.query('count("View") = 2').count == 1
        assert cluster.query("everyone").count == 2


class StoppingShard(FailingShard):
    """Stops taking changes of identifiers after some."""

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.left: int | None = None

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is CHANGE_IDENTITY and request.change and self.left is not None:
            if self.left == 0:
                raise call_error(grpc.StatusCode.UNAVAILABLE)
            self.left -= 1
        return await super().call(method, request, deadline)


@pytest.mark.parametrize("steps", range(5))
def test_a_profile_under_way_counts_once(tmp_path: Path, steps: int) -> None:
    stopping = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return stopping.setdefault(number, StoppingShard(client))

    with local_cluster(tmp_path, wrap) as cluster:
        cluster.ingest(rows(*(["View", None, f"d{n}", NOW_MS - 50, None, {}] for n in range(8)), batch_id=b"1"))
        for shard in stopping.values():
            shard.left = steps
        links = [["View", f"u{n}", f"d{n}", NOW_MS, None, {}] for n in range(8)]
        cluster.ingest(rows(*links, batch_id=b"2"))
        people, views = cluster.query("everyone").count, cluster.query('count("View") >= 1').count
        assert 8 <= people == views <= 16
        assert len(cluster.members("everyone")[0]) == people
        doubles = cluster.query('count("View") = 2').count
        assert people == 16 - doubles, "who has both events has left nothing behind"
        for shard in stopping.values():
            shard.left = None
        cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
        assert cluster.query('count("View") = 2').count == cluster.query("everyone").count == 8


@pytest.mark.parametrize("with_snapshot", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_large_profile_moves_in_pieces_whatever_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_snapshot: bool
) -> None:
    monkeypatch.setattr(cdp_store.identity.pieces, "PARCEL_PIECE_BYTES", 500)
    events = [["View", None, "d0", NOW_MS - n % 7, f"m{n}", {"n": n, "text": "x" * 50}] for n in range(8)]
    steps, stopped = 0, True
    while stopped:
        folder, stopping = tmp_path / str(steps), dict[int, StoppingShard]()

        def wrap(number: int, client: ShardClient, known: dict[int, StoppingShard] = stopping) -> ShardClient:
            return known.setdefault(number, StoppingShard(client))

        with local_cluster(folder, wrap) as cluster:
            cluster.ingest(rows(*events, batch_id=b"1"))
            for shard in stopping.values():
                shard.left = steps
            cluster.ingest(rows(["Buy", "ann", "d0", NOW_MS, "m", {}], batch_id=b"2"))
            _one_of_each(cluster)
            if with_snapshot:
                cluster.seal()
                for server in cluster.servers:
                    cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))
        with local_cluster(folder) as cluster:
            stopped = any(
                partition.identity.is_due
                for server in cluster.servers
                for partition in server._store.partitions.values()
            )
            _one_of_each(cluster)
            cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
            assert cluster.query('count("View") = 8 and did("Buy")').count == cluster.query("everyone").count == 1
            found = cluster.profile(user_id="ann", with_origins=True)
            assert {event.origin.message_id for event in found.events} == {"m", *(f"m{n}" for n in range(8))}
        steps += 1
    assert steps > 4, "it was no more than one piece"


def _one_of_each(cluster: LocalCluster) -> None:
    assert cluster.query('count("View") = 8').count == 1
    assert cluster.query('did("View")').count == cluster.query('did("Buy") or did("View")').count - 1 or (
        cluster.query('did("View") and did("Buy")').count == cluster.query("everyone").count == 1
    )


def test_views_agree_when_each_transfer_shows_once() -> None:
    def ends(partition: int, sent: tuple[int, int, int] | None, received: tuple[int, int] | None) -> Any:
        message = moving_pb2.PartitionTransfers(partition=partition)
        if sent is not None:
            message.sent.add(to=sent[0], released=sent[1], open=sent[2])
        if received is not None:
            message.received.add(source=received[0], last=received[1])
        return message

    def found(sent: tuple[int, int] | None, received: int | None) -> tuple[set[Any], set[int]]:
        source = ends(0, None if sent is None else (1, *sent), None)
        target = ends(1, None, None if received is None else (0, received))
        disagreement = compare([source, target])
        return {*disagreement.arrived}, {*disagreement.too_old}

    assert found((0, 5), None) == (set(), set()), "begun, not arrived"
    assert found((0, 5), 5) == ({(0, 1)}, set()), "arrived, not gone"
    assert found((5, 0), 5) == (set(), set()), "gone"
    assert found((5, 0), None) == (set(), {1}), "gone, and the other view is from before it arrived"
    assert found((5, 7), 4) == (set(), {1})
    assert found(None, 5) == (set(), {0}), "arrived, and the other view is from before it began"
    assert found((3, 0), 5) == (set(), {0})
    assert not compare([ends(0, (1, 5, 7), None)]), "nothing is known of a partition that did not answer"


@st.composite
def sayings(draw: st.DrawFn) -> list[Said]:
    said: list[Said] = []
    for ts in draw(st.permutations(range(1, 13))):
        who = draw(st.sampled_from([ANN, BOB, *DEVICES]))
        match draw(st.integers(0, 2)):
            case 0:
                said.append(Event(who, "View", ts, {"n": ts % 2}))
            case 1:
                said.append(Change(who, ts, {"plan": f"p{ts}"}))
            case _:
                said.append(Link(draw(st.sampled_from(DEVICES)), draw(st.sampled_from([ANN, BOB])), ts))
    return said


def _row(said: Said) -> list[Any]:
    match said:
        case Event(User(kind, value), name, ts, properties, _):
            return [name, *_ids(kind, value), ts, None, dict(properties)]
        case Change(User(kind, value), ts, attributes, _):
            return [None, *_ids(kind, value), ts, None, dict(attributes)]
        case Link(lower, upper, ts, _):
            return [None, upper.identifier, lower.identifier, ts, None, {}]
    raise AssertionError(said)


def _ids(kind: str, value: str) -> tuple[str | None, str | None]:
    return (value, None) if kind == "user_id" else (None, value)


@given(sayings(), st.data())
@settings(max_examples=12, deadline=None)
def test_any_order_with_movers_that_stop_gives_the_same_profiles(
    tmp_path_factory: Any, said: list[Said], data: st.DataObject
) -> None:
    stopping = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return stopping.setdefault(number, StoppingShard(client))

    folder: Path = tmp_path_factory.mktemp("cluster")
    with local_cluster(folder, wrap) as cluster:
        for number, each in enumerate(data.draw(st.permutations(said))):
            for shard in stopping.values():
                shard.left = data.draw(st.sampled_from([None, 0, 1, 2]))
            cluster.ingest(rows(_row(each), batch_id=b"b%d" % number))
            _counts_agree(cluster)
        for shard in stopping.values():
            shard.left = None
        cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
        # A link makes its user known, as an identify without traits does.
        records = merged([*said, *(Change(each.upper, each.ts) for each in said if isinstance(each, Link))])
        assert cluster.members("everyone")[0] == sorted({(*record.user,) for record in records})
        assert str(never_linked(records)) == _digest(cluster)
        for server in cluster.servers:
            assert not any(partition.identity.is_due for partition in server._store.partitions.values())


def _counts_agree(cluster: LocalCluster) -> None:
    everyone = cluster.query("everyone").count
    assert len(cluster.members("everyone")[0]) == everyone
    assert cluster.query('did("View")').count + cluster.query('not did("View")').count == everyone


def _digest(cluster: LocalCluster) -> str:
    partitions = [partition for server in cluster.servers for partition in server._store.partitions.values()]
    return str(sum((digest(partition.capture()) for partition in partitions), Digest()))


def _named(kind: str, value: str) -> query_pb2.Identifier:
    return query_pb2.Identifier(kind=kind, value=value)


def test_a_profile_is_found_by_any_of_its_identifiers(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(
            ["View", None, "d0", NOW_MS - 9, None, {}], ["View", "ann", "d0", NOW_MS - 5, None, {}, {"email": "a@x"}],
            ["View", None, "d1", NOW_MS, None, {}, {"email": "a@x"}],
        ))  # fmt: skip
        for kind, value in (("user_id", "ann"), ("anonymous_id", "d0"), ("email", "a@x"), ("anonymous_id", "d1")):
            found = cluster.profile(other=_named(kind, value))
            assert (found.identifiers[0].value, found.event_count) == ("ann", 3)


def test_an_identity_is_explained_by_its_messages_and_a_wrong_link_taken_back(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        early = [
            ["View", None, "d0", NOW_MS - 50, "m0", {"n": 1}],
            [None, "ann", None, NOW_MS - 45, None, {"plan": "a"}],
        ]
        cluster.ingest(rows(*early, batch_id=b"1"))
        before = _digest(cluster)
        link = ingest_pb2.Record(user_id="ann", message_id="m1")
        link.time.FromMilliseconds(NOW_MS - 45)
        link.alias.previous_id = "d0"
        cluster.ingest(ingest_pb2.Batch(batch_id=b"2", rows=ingest_pb2.RecordRows(records=[link])))
        cluster.ingest(rows(["View", "bob", "d0", NOW_MS - 20, "m2", {}], batch_id=b"3"))
        identities = Identities(cluster.routing)
        for asked in (("anonymous_id", "d0"), ("user_id", "ann")):
            found = cluster.run(identities.explain(asked, far_deadline()))
            assert (found.profile.kind, found.profile.value) == ("user_id", "ann")
            told = [
                (each.identifier.value, each.claimed_for.value, each.message_id, each.holds) for each in found.bindings
            ]
            assert told == [("d0", "ann", "m1", True), ("d0", "bob", "m2", False)]
        assert cluster.query('did("View") and plan = "a"').count == 1
        for user_id in ("bob", "ann"):
            request = identity_pb2.UnlinkIdentifierRequest(
                identifier=_named("anonymous_id", "d0"), profile=_named("user_id", user_id)
            )
            assert cluster.run(identities.unlink(request, far_deadline())).changed
            assert not cluster.run(identities.unlink(request, far_deadline())).changed
        assert cluster.query('did("View") and plan = "a"').count == 0
        cluster.ingest(rows(["View", "ann", "d0", NOW_MS - 1, "m3", {}], batch_id=b"4"))
        assert cluster.query('count("View") = 1').count == cluster.query("everyone").count == 3
        assert before != _digest(cluster)
        apart = cluster.run(identities.explain(("anonymous_id", "d0"), far_deadline()))
        assert apart.profile.value == "d0"
        assert [each.apart for each in apart.bindings] == [True, True]
        wrong = identity_pb2.UnlinkIdentifierRequest(identifier=_named("user_id", "a"), profile=_named("email", "b"))
        with pytest.raises(RequestInvalid, match="other way round"):
            cluster.run(identities.unlink(wrong, far_deadline()))


def test_links_and_moves_survive_a_restart_and_a_snapshot(tmp_path: Path) -> None:
    stopping = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        stopping[number] = StoppingShard(client)
        return stopping[number]

    with local_cluster(tmp_path, wrap) as cluster:
        cluster.ingest(rows(*(["View", None, f"d{n}", NOW_MS - 50, None, {"n": n}] for n in range(6)), batch_id=b"1"))
        stopping[0].left, stopping[1].left = 3, 1
        cluster.ingest(rows(*(["View", f"u{n}", f"d{n}", NOW_MS, None, {}] for n in range(6)), batch_id=b"2"))
        cluster.run(cluster.shards[0].call(TAKE_SNAPSHOT, shard_pb2.TakeSnapshotRequest(), far_deadline()))
    with local_cluster(tmp_path) as cluster:
        cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
        assert cluster.query('count("View") = 2').count == cluster.query("everyone").count == 6
        for server in cluster.servers:
            cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))
        kept = _digest(cluster)
    with local_cluster(tmp_path) as cluster:
        assert _digest(cluster) == kept
        cluster.ingest(rows(["View", None, "d3", NOW_MS, "late", {}], batch_id=b"3"))
        assert cluster.query('count("View") = 3').count == 1


def test_an_erasure_by_any_identifier_reaches_all_that_are_linked(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(
            ["View", None, "d0", NOW_MS - 9, "m0", {"n": 1}],
            ["View", "ann", "d0", NOW_MS - 5, "m1", {}, {"email": "a@x"}],
            ["View", "bob", "d0", NOW_MS - 4, "m2", {}], ["View", None, "d2", NOW_MS, None, {}, {"email": "a@x"}],
            ["View", "bob", "d5", NOW_MS, "m5", {}],
        ))  # fmt: skip
        assert cluster.members("everyone")[0] == [("user_id", "ann"), ("user_id", "bob")]
        request = admin_pb2.EraseProfileRequest(other=_named("anonymous_id", "d2"))
        assert cluster.run(Erasures(cluster.routing).erase(request, far_deadline())).erased
        assert cluster.members("everyone")[0] == [("user_id", "bob")]
        for server in cluster.servers:
            for partition in server._store.partitions.values():
                partition.purge()
                held = {partition.identity.names.get(entry) for entry in range(len(partition.identity.names))}
                assert held <= {b"ubob", b"ad5"}
        again = admin_pb2.EraseProfileRequest(other=_named("user_id", "ann"))
        assert not cluster.run(Erasures(cluster.routing).erase(again, far_deadline())).erased
        assert cluster.profile(other=_named("anonymous_id", "d5")).event_count == 2
        cluster.ingest(rows(["View", "cid", "d0", NOW_MS, "m9", {}], batch_id=b"9"))
        assert cluster.profile(other=_named("anonymous_id", "d0")).identifiers[0].value == "cid"
    with local_cluster(tmp_path) as cluster:
        assert cluster.members("everyone")[0] == [("user_id", "bob"), ("user_id", "cid")]


@pytest.mark.parametrize("left", [None, 1])
def test_links_come_along_into_another_number_of_partitions(tmp_path: Path, left: int | None) -> None:
    stopping = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return stopping.setdefault(number, StoppingShard(client))

    source = tmp_path / "source"
    with local_cluster(source, wrap) as cluster:
        cluster.ingest(rows(*(["View", None, f"d{n}", NOW_MS - 50, None, {"n": n}] for n in range(6)), batch_id=b"1"))
        stopping[0].left = stopping[1].left = left
        cluster.ingest(rows(*(["View", f"u{n}", f"d{n}", NOW_MS, f"m{n}", {}] for n in range(6)), batch_id=b"2"))
        kept = _digest(cluster)
    (source / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    wanted = Wanted(shards=1, partitions=3)
    if left is not None:
        with pytest.raises(ProfilesUnderway):
            restore(str(source), tmp_path / "new", wanted, lambda _: None, 0)
        return
    assert str(restore(str(source), tmp_path / "new", wanted, lambda _: None, 0).digest) == kept
    made = ClusterDirectory(tmp_path / "new").load()
    store = open_store(tmp_path / "new" / "shard-0", cluster=made)
    apart = 0
    for number, partition in store.partitions.items():
        assert not partition.identity.is_due
        known = [partition.identity.names.get(entry) for entry in range(len(partition.identity.names))]
        for claim in [claim for name in known for claim in partition.identity.claims.about(name)]:
            assert claim.holds and claim.message_id == b"m" + claim.lower[2:]
        apart += sum(
            store.change_identity(number, Recall(device, b"u" + b"u" + device[2:]))
            for device in known
            if device[:1] == b"a"
        )
        partition.validate()
    views = [partition.capture() for partition in store.partitions.values()]
    store.close()
    assert apart == 6, "what came in under each device can still be told apart"
    assert sum(int((~view.erased()).sum()) for view in views) == 12


class CountingShard(FailingShard):
    """Counts the reads of identifiers, and how many are asked about at once."""

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.asked = list[int]()

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is READ_IDENTITY:
            self.asked.append(1)
        if method is READ_IDENTITIES:
            self.asked.append(len(request.identifiers))
        return await super().call(method, request, deadline)


def test_all_identifiers_of_a_person_are_read_with_few_calls_none_of_them_between_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdp_router.identity.identities, "IDENTITIES_READ_MAX", 30)
    counting = dict[int, CountingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return counting.setdefault(number, CountingShard(client))

    with local_cluster(tmp_path, wrap) as cluster:
        cluster.ingest(rows(*(["View", "ann", f"d{n}", NOW_MS, f"m{n}", {}] for n in range(100)), batch_id=b"1"))
        identities, between = Identities(cluster.routing), list[object]()
        for server in cluster.servers:
            monkeypatch.setattr(server.commits, "between", between.append)
        found = cluster.run(identities.identifiers_of(("user_id", "ann"), far_deadline()))
        assert found == {("user_id", "ann"), *(("anonymous_id", f"d{n}") for n in range(100))}
        explained = cluster.run(identities.explain(("anonymous_id", "d7"), far_deadline()))
        assert (explained.profile.value, len(explained.bindings)) == ("ann", 100)
        assert not between
        for shard in counting.values():
            assert len(shard.asked) <= 2 * (1 + 4) + 1 and max(shard.asked) == 30
