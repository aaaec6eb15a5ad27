"""A record that is sent again, whose link was refused, takes a seat once there is room; what was erased stays away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cdp.v1 import admin_pb2, identity_pb2, query_pb2

from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import ShardUnavailable
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.identity.identities import Identities
from cdp_router.ingest.flights import Flights
from cdp_router.ingest.ingest import Ingest
from cdp_router.ingest.loads import Said, Taken
from cdp_store.identity.seats import OTHERS, Seats
from tests.arrivals import of
from tests.router.erasure.test_erasing import snapshot
from tests.router.identity.test_identifier_limits import linked_to, refused, seen_with
from tests.router.identity.test_identifier_limits import partitions as partitions_of
from tests.router.identity.test_moving import rows
from tests.router.identity.test_retries_after_erasure import PARTITIONS, login, stopping_cluster
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster

Free = Callable[[LocalCluster], None]


def limit(cluster: LocalCluster, devices: int) -> None:
    """Have the router link at most so many devices to one person."""
    limits = IdentifierLimits({"anonymous_id": devices, OTHERS: 100})
    cluster.taking = Ingest(cluster.routing, cluster.clock, cluster.taking._threads, limits=limits)


def unlink(cluster: LocalCluster) -> None:
    request = identity_pb2.UnlinkIdentifierRequest(
        identifier=query_pb2.Identifier(kind="anonymous_id", value="d0"),
        profile=query_pb2.Identifier(kind="user_id", value="ann"),
    )
    cluster.run(Identities(cluster.routing).unlink(request, far_deadline()))


def erase(cluster: LocalCluster, **asked: str) -> None:
    cluster.run(Erasures(cluster.routing).erase(admin_pb2.EraseProfileRequest(**asked), far_deadline()))


def take_refused(cluster: LocalCluster) -> None:
    """Two devices are ann's, and a third is not."""
    limit(cluster, 2)
    for number in range(2):
        assert not refused(cluster.ingest(seen_with("ann", f"d{number}", 9, b"%d" % number)))
    assert refused(cluster.ingest(seen_with("ann", "d2", 9, b"2"))) == [0]


@PARTITIONS
@pytest.mark.parametrize("batch_id", [b"2", b"another"])
@pytest.mark.parametrize("free", [lambda cluster: limit(cluster, 3), unlink])
def test_a_refused_link_is_taken_with_a_resent_record_once_there_is_room(
    tmp_path: Path, partitions: int, batch_id: bytes, free: Free
) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        take_refused(cluster)
        again = cluster.ingest(seen_with("ann", "d2", 9, batch_id))
        assert (again.duplicates, refused(again)) == (1, [0]), "there is no room yet"
        free(cluster)
        again = cluster.ingest(seen_with("ann", "d2", 9, batch_id))
        assert (again.accepted, again.duplicates, refused(again)) == (0, 1, [])
        assert "d2" in linked_to(cluster, "ann")
        bindings = cluster.run(Identities(cluster.routing).explain(("anonymous_id", "d2"), far_deadline())).bindings
        assert [each.message_id for each in bindings if each.identifier.value == "d2"] == ["ann d2 9"]
        seats = sum(len(each.identity.seats) for each in partitions_of(cluster))
        cluster.ingest(seen_with("ann", "d2", 9, batch_id))
        assert seats == sum(len(each.identity.seats) for each in partitions_of(cluster))
        assert refused(cluster.ingest(seen_with("ann", "d9", 8, b"9"))) == [0], "the seat counts"
        assert cluster.query('count("View") = 4').count == 1


@PARTITIONS
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_wherever_a_shard_stops_the_next_retry_takes_the_link(
    tmp_path: Path, partitions: int, is_after: bool, at: int
) -> None:
    with stopping_cluster(tmp_path, partitions) as (cluster, shards):
        take_refused(cluster)
        limit(cluster, 3)
        for shard in shards:
            shard.stop(at, is_after=is_after)
        try:
            cluster.ingest(seen_with("ann", "d2", 9, b"3"))
        except ShardUnavailable:
            assert not refused(cluster.ingest(seen_with("ann", "d2", 9, b"3")))
        assert linked_to(cluster, "ann") == {"d0", "d1", "d2"}
        assert sum(len(each.identity.seats) for each in partitions_of(cluster)) == 3


@PARTITIONS
def test_records_from_before_there_were_seats_take_one_when_they_are_sent_again(
    tmp_path: Path, partitions: int
) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        take_refused(cluster)
        for each in partitions_of(cluster):  # as an earlier version left it
            each.identity.seats = Seats(each.key)
        limit(cluster, 4)
        again = [cluster.ingest(seen_with("ann", f"d{n}", 9, b"again%d" % n)) for n in range(3)]
        assert [(each.duplicates, refused(each)) for each in again] == [(1, [])] * 3
        assert linked_to(cluster, "ann") == {"d0", "d1", "d2"}


@PARTITIONS
@pytest.mark.parametrize("asked", [{"user_id": "ann"}, {"anonymous_id": "d2"}])
@pytest.mark.parametrize("batch_id", [b"2", b"another"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_refused_link_of_somebody_who_was_erased_is_not_taken_however_much_room_there_is(
    tmp_path: Path, partitions: int, asked: dict[str, str], batch_id: bytes, restarts: bool
) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        take_refused(cluster)
        cluster.ingest(rows(["View", None, "d2", NOW_MS - 5, "alone", {}], batch_id=b"alone"))
        erase(cluster, **asked)
        if restarts:
            snapshot(cluster)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        limit(cluster, 9)
        again = cluster.ingest(seen_with("ann", "d2", 9, batch_id))
        assert (again.accepted, again.duplicates, refused(again)) == (0, 1, [])
        assert "d2" not in linked_to(cluster, "ann")
        assert not refused(cluster.ingest(seen_with("ann", "d2", 4, b"new")))
        assert "d2" in linked_to(cluster, "ann"), "a new record says it anew"


@PARTITIONS
def test_a_new_record_between_two_repeats_of_a_refused_link_is_taken_with_it(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        take_refused(cluster)
        assert refused(cluster.ingest(seen_with("ann", "d2", 1, b"3"))) == [0]
        limit(cluster, 3)
        mixed = [["View", "ann", "d2", NOW_MS - at, f"ann d2 {at}", {}] for at in (9, 5, 1)]
        again = cluster.ingest(rows(*mixed, batch_id=b"4"))
        assert (again.accepted, again.duplicates, refused(again)) == (1, 2, [])
        assert "d2" in linked_to(cluster, "ann")


def test_seats_for_links_of_repeats_are_asked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a part that is undecided because of other senders no seat is logged."""
    travelled, found = Flights._travelled, list[bool]()

    async def recorded(flights: Flights, said: Said, deadline: Deadline) -> Taken:
        if len(said.links) and not len(said.batch):
            found.append(said.may_share)
        return await travelled(flights, said, deadline)

    with local_cluster(tmp_path, cluster=of(1)) as cluster:
        take_refused(cluster)
        limit(cluster, 3)
        monkeypatch.setattr(Flights, "_travelled", recorded)
        assert not refused(cluster.ingest(seen_with("ann", "d2", 9, b"2")))
    assert found == [False]


@PARTITIONS
def test_a_link_is_granted_by_the_answer_that_logged_its_seat(tmp_path: Path, partitions: int) -> None:
    """The part with a new record between two repeats is undecided first: what it grants then is not logged."""
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        limit(cluster, 1)
        first, last = login("m1", time_ms=NOW_MS - 99), login("m3", time_ms=NOW_MS - 97)
        cluster.ingest(rows(first, last, batch_id=b"1"))
        erase(cluster, user_id="ann")
        new, other = login("m2", time_ms=NOW_MS - 98), login("m4", device="e", time_ms=NOW_MS - 96)
        taken = cluster.ingest(rows(first, new, last, other, batch_id=b"2"))
        assert (taken.accepted, taken.duplicates, refused(taken)) == (2, 2, [3])
        assert linked_to(cluster, "ann") == {"d"}
        assert sum(len(each.identity.seats) for each in partitions_of(cluster)) == 1
