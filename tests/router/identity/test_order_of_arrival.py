"""Chains of identifiers that people share: the same profiles whatever came first, however many came in one batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.deadline import Deadline
from cdp_router.identity.transfers import Mover
from cdp_store.ids import rank_of_kind
from tests.arrivals import (
    ORDERS,
    T,
    check_arrivals,
    check_people,
    check_what_follows,
    digest_of,
    of,
    send,
    unlink,
)
from tests.identity_cluster import Apart, Link, Said, merged, never_linked
from tests.raw_records import Change, Event, User, user
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import far_deadline, local_cluster


def _people(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_device_of_an_address_follows_its_user_in_every_order_of_arrival(tmp_path: Path, order: str) -> None:
    people = _people(5)
    with local_cluster(tmp_path, cluster=of(1)) as cluster:
        said = send(cluster, order, people, 60)
        check_people(cluster, people, said)
        check_what_follows(cluster, people, said)


@pytest.mark.parametrize(
    ("partitions", "size", "count"),
    [(8, 7, 20), (16, 60, 60), pytest.param(64, 25, 30, marks=pytest.mark.long)],
)
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


def test_a_profile_that_leaves_for_another_of_its_partition_takes_what_arrives_meanwhile_along(tmp_path: Path) -> None:
    one, two, mails = user("u0"), user("u2"), [User("email", "e0"), User("email", "e1")]
    crm, phone = [User("crm", "c0"), User("crm", "c1")], User("phone", "p0")
    people = [[one, mails[0], crm[1]], [crm[0]], [two, mails[1], crm[1]], [one], [mails[1], crm[0], phone], [one]]
    made = [{"ts": T, "named": named, "event": "Step", "n": int(named == [crm[0]])} for named in people]
    said = [each for record in made for each in _meant(record)]
    with local_cluster(tmp_path, cluster=of(3)) as cluster:  # the second address lives beside user two
        assert cluster.ingest(rows(*map(_row, made, range(len(made))), batch_id=b"all")).accepted == len(made)
        assert digest_of(cluster) == never_linked(merged(said))
        for lower, upper in [(mails[0], one), (mails[1], two), (phone, mails[1])]:
            unlink(cluster, lower, upper)
            said.append(Apart(lower, upper))
            assert digest_of(cluster) == never_linked(merged(said))


# All 24 orders for eight partitions, where most links cross two of them; of other numbers, which only make other pairs
# cross, a few (the usual run has all orders for one). Batches of one or two records share nothing, or one step, with
# others; 7 leaves a short batch, 59 all but one person, 60 none. `python -m tests.arrivals`, which `make torture` runs,
# takes all sizes.
PEOPLE = {size: [f"-{size}-{number}" for number in range(count)]
          for size, count in {1: 5, 2: 6, 7: 16, 59: 60, 60: 60}.items()}  # fmt: skip
CASES = [*((8, order) for order in ORDERS), *itertools.product([1, 16, 64], ["EDAU", "UADE"])]


@pytest.mark.long
@pytest.mark.parametrize(("partitions", "order"), CASES)
def test_any_order_any_batches_any_partitions_give_the_same_profiles(
    tmp_path: Path, partitions: int, order: str
) -> None:
    check_arrivals(tmp_path, partitions, order, PEOPLE)


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


def test_moves_for_which_no_time_is_left_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with local_cluster(tmp_path, cluster=of(3)) as cluster:
        cluster.run(Mover(cluster.routing).settle_all(Deadline.after(None, 0)))
        assert caplog.messages == ["profiles of 3 partitions (0, 1, 2) still wait to be moved: the time is over"]
        caplog.clear()
        cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
        assert not caplog.messages
