"""Chains of identifiers that people share: the same profiles whatever came first, however many came in one batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import admin_pb2, identity_pb2, query_pb2, shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.erasing import Erasures
from cdp_router.identities import Identities
from cdp_router.topology import ClusterFile
from cdp_store.digest import Digest, digest
from cdp_store.ids import rank_of_kind
from tests.identity_cluster import Apart, Link, Said, merged, never_linked
from tests.raw_records import Change, Event, User, anonymous, user
from tests.router.local_cluster import KEY, NOW_MS, LocalCluster, far_deadline, local_cluster
from tests.router.test_moving import rows
from tests.router.test_people import document, export

T = NOW_MS - 1000
ORDERS = ["".join(order) for order in itertools.permutations("EDAU")]
SOME_ORDERS = ["EDAU", "DEAU", "AUDE", "UADE"]


def of(partitions: int) -> ClusterFile:
    """A cluster of one shard with so many partitions."""
    return ClusterFile("cluster-one", partitions, 1, KEY)


def step(what: str, who: str) -> tuple[list[Any], list[Said]]:
    """A kind of record of a person, as sent and as the oracle reads it: an event of a device; the device seen with an
    address; the address seen with user one; the device seen with user two."""
    device, mail = anonymous(f"dev{who}"), User("email", f"m{who}@x.org")
    one, two = user(f"one{who}"), user(f"two{who}")
    match what:
        case "E":
            return ["Step", None, device[1], T + 10, f"E{who}", {}], [Event(device, "Step", T + 10, {})]
        case "D":
            row = [None, None, device[1], T + 20, f"D{who}", {}, {"email": mail[1]}]
            return row, [Change(mail, T + 20), Link(device, mail, T + 20)]
        case "A":
            row = [None, one[1], None, T + 30, f"A{who}", {}, {"email": mail[1]}]
            return row, [Change(one, T + 30), Link(mail, one, T + 30)]
    return [None, two[1], device[1], T + 40, f"U{who}", {}], [Change(two, T + 40), Link(device, two, T + 40)]


def send(cluster: LocalCluster, order: str, people: Sequence[str], size: int) -> list[Said]:
    """Every step of all people before the next one, in batches of a size; what was said."""
    said = list[Said]()
    for what in order:
        steps = [step(what, who) for who in people]
        for start in range(0, len(steps), size):
            part = steps[start : start + size]
            batch_id = f"{what} {people[start]}".encode()
            assert cluster.ingest(rows(*(row for row, _ in part), batch_id=batch_id)).accepted == len(part)
            said += [each for _, meant in part for each in meant]
    return said


def digest_of(cluster: LocalCluster) -> Digest:
    """Of everything in the cluster."""
    partitions = [partition for server in cluster.servers for partition in server._store.partitions.values()]
    return sum((digest(partition.capture()) for partition in partitions), Digest())


def check_people(cluster: LocalCluster, people: Sequence[str], said: list[Said]) -> None:
    """All is where the oracle wants it, and each device's event is its user's."""
    assert digest_of(cluster) == never_linked(merged(said))
    members = cluster.members('count("Step") = 1')[0]
    assert members == sorted(("user_id", f"two{who}") for who in people)


def check_what_follows(cluster: LocalCluster, people: Sequence[str], said: list[Said]) -> None:
    """An export, an erasure and a link taken apart concern the person that the event belongs to."""
    first, second, third = people[:3]
    assert _events_exported(cluster, f"one{first}") == 0 and _events_exported(cluster, f"two{first}") == 1
    _erase(cluster, f"two{first}")
    assert _events_exported(cluster, f"one{first}") == 0
    for who in (second, third):  # what a device did goes to the next claim: the address, which is user one's
        unlink(cluster, anonymous(f"dev{who}"), user(f"two{who}"))
        said.append(Apart(anonymous(f"dev{who}"), user(f"two{who}")))
        assert _events_exported(cluster, f"one{who}") == 1 and _events_exported(cluster, f"two{who}") == 0
    _erase(cluster, f"one{third}")
    gone = {user(f"two{first}"), user(f"one{third}")}
    assert digest_of(cluster) == never_linked(record for record in merged(said) if record.user not in gone)


def _events_exported(cluster: LocalCluster, name: str) -> int:
    return int(document(export(cluster, "user_id", name))["totals"]["events"])


def _erase(cluster: LocalCluster, name: str) -> None:
    request = admin_pb2.EraseProfileRequest(user_id=name)
    assert cluster.run(Erasures(cluster.routing, cluster.clock).erase(request, far_deadline())).erased


def unlink(cluster: LocalCluster, lower: User, upper: User) -> None:
    """Take two identifiers apart."""
    pair = (query_pb2.Identifier(kind=each.kind, value=each.identifier) for each in (lower, upper))
    request = identity_pb2.UnlinkIdentifierRequest(identifier=next(pair), profile=next(pair))
    cluster.run(Identities(cluster.routing).unlink(request, far_deadline()))


def _people(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_device_of_an_address_follows_its_user_in_every_order_of_arrival(tmp_path: Path, order: str) -> None:
    people = _people(5)
    with local_cluster(tmp_path, cluster=of(1)) as cluster:
        said = send(cluster, order, people, 60)
        check_people(cluster, people, said)
        check_what_follows(cluster, people, said)


@pytest.mark.parametrize(("partitions", "size", "count"), [(8, 7, 20), (16, 60, 60), (64, 25, 30)])
def test_profiles_that_move_together_stay_apart_for_any_number_of_partitions(
    tmp_path: Path, partitions: int, size: int, count: int
) -> None:
    people = _people(count)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        said = send(cluster, "EDAU", people, size)
        check_people(cluster, people, said)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        check_people(cluster, people, said)
        check_what_follows(cluster, people, said)


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("partitions", [1, 8, 16, 64])
def test_any_order_any_batches_any_partitions_give_the_same_profiles(
    tmp_path: Path, partitions: int, order: str
) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        said = list[Said]()
        for size in range(1, 61):
            said += send(cluster, order, _people(60, f"-{size}-"), size)
        everybody = [f"-{size}-{number}" for size in range(1, 61) for number in range(60)]
        check_people(cluster, everybody, said)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        check_people(cluster, everybody, said)
        check_what_follows(cluster, everybody[7:], said)


KINDS = ["user_id", "email", "crm", "phone", "anonymous_id"]


@st.composite
def records(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Records that name some of a few identifiers each, many of them of one instant."""
    made, times = list[dict[str, Any]](), st.integers(1, draw(st.sampled_from([1, 4, 30])))
    for ts in draw(st.lists(times, min_size=4, max_size=24)):
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True))
        named = [User(kind, f"{kind[0]}{draw(st.integers(0, 2))}") for kind in kinds]
        made.append({"ts": T + ts, "named": sorted(named, key=lambda each: rank_of_kind(each.kind)),
                     "event": draw(st.sampled_from(["Step", "Buy", None])), "n": draw(st.integers(0, 1))})  # fmt: skip
    return made


def _row(record: dict[str, Any], number: int) -> list[Any]:
    ids = {each.kind: each.identifier for each in record["named"]}
    others = {kind: value for kind, value in ids.items() if kind not in ("user_id", "anonymous_id")}
    values = {"n": record["n"]}
    return [
        record["event"], ids.get("user_id"), ids.get("anonymous_id"), record["ts"], f"m{number}", values, others
    ]  # fmt: skip


def _meant(record: dict[str, Any]) -> Iterator[Said]:
    top, values = record["named"][0], {"n": record["n"]}
    if record["event"]:
        yield Event(top, record["event"], record["ts"], values)
    else:
        yield Change(top, record["ts"], values)
    yield from (Link(lower, top, record["ts"]) for lower in record["named"][1:])


@given(records(), st.data())
@settings(max_examples=15, deadline=None)
def test_random_chains_of_many_kinds_give_what_the_rule_of_identity_says(
    tmp_path_factory: Any, made: list[dict[str, Any]], data: st.DataObject
) -> None:
    cluster_file = of(data.draw(st.sampled_from([1, 3, 8])))
    folder: Path = tmp_path_factory.mktemp("chains")
    arrived = data.draw(st.permutations(made))
    said = [each for record in arrived for each in _meant(record)]
    with local_cluster(folder, cluster=cluster_file) as cluster:
        left = [_row(record, number) for number, record in enumerate(arrived)]
        while left:
            size = data.draw(st.integers(1, 12))
            assert cluster.ingest(rows(*left[:size], batch_id=b"b%d" % len(left))).accepted == len(left[:size])
            left = left[size:]
        if data.draw(st.booleans()):
            for server in cluster.servers:
                cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))
        assert digest_of(cluster) == never_linked(merged(said))
    links = sorted({(each.lower, each.upper) for each in said if isinstance(each, Link)})
    with local_cluster(folder, cluster=cluster_file) as cluster:
        for lower, upper in data.draw(
            st.lists(st.sampled_from(links), max_size=3, unique=True) if links else st.just([])
        ):
            unlink(cluster, lower, upper)
            said.append(Apart(lower, upper))
            assert digest_of(cluster) == never_linked(merged(said))
