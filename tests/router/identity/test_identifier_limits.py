"""At most so many identifiers of a kind belong to one: what goes beyond is taken, not linked, and told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import admin_pb2, identity_pb2, ingest_pb2, query_pb2, shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import RequestInvalid, ShardUnavailable
from cdp_router.identity import identifier_limits
from cdp_router.identity.identifier_limits import LINK_REFUSED, IdentifierLimits
from cdp_router.identity.identities import Identities
from cdp_router.identity.transfers import Mover
from cdp_router.ingest.ingest import Ingest
from cdp_store.identity.seats import OTHERS
from cdp_store.partition.partition import Partition
from tests.identity_cluster import Link, Said, merged, never_linked
from tests.raw_records import Change, Event, anonymous, user
from tests.router.fake_shards import FailingShard, call_error
from tests.router.identity.test_moving import _digest, _row, rows
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster

TWO = IdentifierLimits({"anonymous_id": 2, OTHERS: 1})
ANN, BOB = user("ann"), user("bob")
DEVICES = [anonymous(f"d{number}") for number in range(5)]


class BreakingShard(FailingShard):
    """Loses its connection before or after some deliveries, or before all that log links."""

    breaks_links = False

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.ahead = list[str]()

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is not DELIVER:
            return await super().call(method, request, deadline)
        fate = self.ahead.pop() if self.ahead else "works"
        if fate == "before" or (self.breaks_links and any(each.links for each in request.batches)):
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        response = await super().call(method, request, deadline)
        if fate == "after":
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        return response


@contextmanager
def limited_cluster(folder: Path, shards: dict[int, BreakingShard] | None = None) -> Iterator[LocalCluster]:
    """A cluster with a router that knows these limits, over shards that may break."""
    made = dict[int, BreakingShard]() if shards is None else shards
    with local_cluster(folder, lambda number, client: made.setdefault(number, BreakingShard(client))) as cluster:
        cluster.taking = Ingest(cluster.routing, cluster.clock, cluster.taking._threads, limits=TWO)
        yield cluster


def refused(result: ingest_pb2.BatchResult) -> list[int]:
    """Where records stood whose links were refused."""
    assert {each.code for each in result.warnings} <= {LINK_REFUSED}
    return [each.index for each in result.warnings]


def partitions(cluster: LocalCluster) -> list[Partition]:
    return [each for server in cluster.servers for each in server._store.partitions.values()]


def linked_to(cluster: LocalCluster, name: str) -> set[str]:
    """Values of the identifiers that belong to a user."""
    own = cluster.run(Identities(cluster.routing).identifiers_of(("user_id", name), far_deadline()))
    return {value for _, value in own} - {name}


def seen_with(name: str, device: str, at: int, batch_id: bytes, **others: str) -> ingest_pb2.Batch:
    return rows(["View", name, device, NOW_MS - at, f"{name} {device} {at}", {}, others], batch_id=batch_id)


def test_what_goes_beyond_is_taken_and_told_but_not_linked(tmp_path: Path) -> None:
    with limited_cluster(tmp_path) as cluster:
        result = cluster.ingest(rows(
            ["View", "ann", "d0", NOW_MS - 9, "m0", {}], ["View", "bob", "d9", NOW_MS - 9, "m1", {}],
            ["View", "ann", "d1", NOW_MS - 8, "m2", {}, {"email": "a@x"}], ["View", "ann", "d2", NOW_MS - 7, None, {}],
            ["View", None, "d2", NOW_MS - 6, None, {}], ["View", "ann", "d2", NOW_MS - 5, "m5", {}],
        ))  # fmt: skip
        assert (result.accepted, refused(result)) == (6, [3, 5])
        assert "anonymous_id 'd2' was not linked to user_id 'ann', which has 2 of this kind" in (
            result.warnings[0].message
        )
        assert cluster.members("everyone")[0] == [("anonymous_id", "d2"), ("user_id", "ann"), ("user_id", "bob")]
        assert cluster.query('count("View") = 4').count == 1
        again = cluster.ingest(seen_with("ann", "d0", 4, b"2", email="b@x"))
        assert refused(again) == [0], "the address; the device is linked already"
        assert cluster.query('count("View") = 5').count == 1


def test_the_first_refused_links_are_told_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identifier_limits, "ERRORS_TOLD_MAX", 3)
    with limited_cluster(tmp_path) as cluster:
        views = [["View", "ann", f"d{n}", NOW_MS - n, f"m{n}", {}] for n in range(9)]
        result = cluster.ingest(rows(*views))
        assert (result.accepted, len(refused(result)), result.warnings_omitted) == (9, 3, 4)


def test_batches_that_come_together_share_the_seats(tmp_path: Path) -> None:
    with limited_cluster(tmp_path) as cluster:

        async def together() -> list[ingest_pb2.BatchResult]:
            batches = [seen_with("ann", f"d{n}", 1, b"b%d" % n) for n in range(6)]
            return list(await asyncio.gather(*(cluster.taking.ingest(batch, far_deadline()) for batch in batches)))

        results = cluster.run(together())
        assert sum(len(refused(result)) for result in results) == 4
        assert linked_to(cluster, "ann") == {f"d{n}" for n, result in enumerate(results) if not result.warnings}


def test_seats_are_kept_over_restarts_and_snapshots_and_freed_by_unlinking_and_erasure(tmp_path: Path) -> None:
    with limited_cluster(tmp_path) as cluster:
        for number in range(2):
            assert not refused(cluster.ingest(seen_with("ann", f"d{number}", 9, b"%d" % number)))
    with limited_cluster(tmp_path) as cluster:
        assert refused(cluster.ingest(seen_with("ann", "d2", 8, b"2"))) == [0]
        for server in cluster.servers:
            cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))
    with limited_cluster(tmp_path) as cluster:
        assert refused(cluster.ingest(seen_with("ann", "d2", 7, b"3"))) == [0]
        apart = identity_pb2.UnlinkIdentifierRequest(
            identifier=query_pb2.Identifier(kind="anonymous_id", value="d0"),
            profile=query_pb2.Identifier(kind="user_id", value="ann"),
        )
        for _ in range(2):
            cluster.run(Identities(cluster.routing).unlink(apart, far_deadline()))
        assert not refused(cluster.ingest(seen_with("ann", "d0", 6, b"4"))), "who is apart needs no seat"
        assert not refused(cluster.ingest(seen_with("ann", "d2", 5, b"5")))
        assert refused(cluster.ingest(seen_with("ann", "d3", 4, b"6"))) == [0]
        cluster.run(Erasures(cluster.routing).erase(admin_pb2.EraseProfileRequest(user_id="ann"), far_deadline()))
        assert all(not len(each.identity.seats) for each in partitions(cluster))
        results = [cluster.ingest(seen_with("ann", f"d{n}", 3, b"again%d" % n)) for n in range(3)]
        assert [refused(result) for result in results] == [[], [], [0]]


def test_an_erasure_finds_seats_whose_links_were_never_logged(tmp_path: Path) -> None:
    shards = dict[int, BreakingShard]()
    with limited_cluster(tmp_path, shards) as cluster:
        for shard in shards.values():
            shard.breaks_links = True
        with pytest.raises(ShardUnavailable):
            cluster.ingest(seen_with("ann", "d0", 1, b"1"))
        held = partitions(cluster)
        assert sum(len(each.identity.seats) for each in held) == 1
        assert not any(len(each.identity.claims) for each in held)
        request = admin_pb2.EraseProfileRequest(anonymous_id="d0")
        cluster.run(Erasures(cluster.routing).erase(request, far_deadline()))
        assert not any(len(each.identity.seats) for each in held)


@st.composite
def sayings(draw: st.DrawFn) -> list[Said]:
    said: list[Said] = []
    for ts in draw(st.permutations(range(1, 13))):
        who = draw(st.sampled_from([ANN, BOB, *DEVICES]))
        match draw(st.integers(0, 3)):
            case 0:
                said.append(Event(who, "View", ts, {"n": ts % 2}))
            case 1:
                said.append(Change(who, ts, {"plan": f"p{ts}"}))
            case _:
                said.append(Link(draw(st.sampled_from(DEVICES)), draw(st.sampled_from([ANN, BOB])), ts))
    return said


@given(sayings(), st.data())
@settings(max_examples=7, deadline=None)
def test_whatever_breaks_the_profiles_are_those_of_the_links_that_were_not_refused(
    tmp_path_factory: Any, said: list[Said], data: st.DataObject
) -> None:
    shards, taken = dict[int, BreakingShard](), list[Said]()
    with limited_cluster(tmp_path_factory.mktemp("cluster"), shards) as cluster:
        for number, each in enumerate(data.draw(st.permutations(said))):
            for shard in shards.values():
                shard.ahead = data.draw(st.lists(st.sampled_from(["before", "after", "works"]), max_size=3))
            result = _until_it_works(cluster, rows(_row(each), batch_id=b"b%d" % number))
            assert isinstance(each, Link) or not result.warnings
            if isinstance(each, Link) and result.warnings:
                each = Change(each.upper, each.ts)  # a link makes its user known all the same
            taken.append(each)
        cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
        records = merged([*taken, *(Change(each.upper, each.ts) for each in taken if isinstance(each, Link))])
        assert cluster.members("everyone")[0] == sorted({(*record.user,) for record in records})
        assert str(never_linked(records)) == _digest(cluster)
        for upper in (ANN, BOB):
            asked = {each.lower for each in said if isinstance(each, Link) and each.upper == upper}
            linked = {each.lower for each in taken if isinstance(each, Link) and each.upper == upper}
            assert len(linked) == min(2, len(asked)), "as many as may, whichever came first"


def _until_it_works(cluster: LocalCluster, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
    while True:
        try:
            return cluster.ingest(batch)
        except ShardUnavailable:
            continue


def test_limits_are_read_from_the_environment() -> None:
    usual = IdentifierLimits.from_environment({})
    assert (usual.of_kind("anonymous_id"), usual.of_kind("email"), usual.of_kind("crm")) == (1000, 100, 100)
    own = IdentifierLimits.from_environment({"CDP_IDENTIFIERS_MAX": "email=5, crm = 1,others=7"})
    assert [own.of_kind(kind) for kind in ("anonymous_id", "email", "crm", "phone")] == [1000, 5, 1, 7]
    for wrong in ("email", "email=", "email=0", "E-Mail=3", "email=many", "email=4294967296", "email=-1"):
        with pytest.raises(RequestInvalid, match="CDP_IDENTIFIERS_MAX"):
            IdentifierLimits.from_environment({"CDP_IDENTIFIERS_MAX": wrong})
