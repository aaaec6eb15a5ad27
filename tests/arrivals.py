"""Chains of identifiers that people share, in any order of arrival, batches and partitions: `python -m tests.arrivals`.

With `--seconds 600 --seed 7` it tries random orders, sizes of batches and numbers of partitions; whatever they are, the
profiles must be the same, and an export, an erasure and a link taken apart concern the same person.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from cdp.v1 import admin_pb2, identity_pb2, query_pb2

from cdp_router.cluster.topology import ClusterFile
from cdp_router.erasure.erasures import Erasures
from cdp_router.identity.identities import Identities
from cdp_router.identity.transfers import Mover
from cdp_store.memory.digest import Digest, digest
from tests.identity_cluster import Apart, Link, Said, merged, never_linked
from tests.raw_records import Change, Event, User, anonymous, user
from tests.router.export.test_people import document, export
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import KEY, NOW_MS, LocalCluster, far_deadline, local_cluster

T = NOW_MS - 1000
ORDERS = ["".join(order) for order in itertools.permutations("EDAU")]


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
    """All is where the oracle wants it, and each device's event is its user's, once what is due has moved."""
    cluster.run(Mover(cluster.routing).settle_all(far_deadline()))
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


def check_arrivals(folder: Path, partitions: int, order: str, people: dict[int, list[str]]) -> None:
    """The same profiles whatever the sizes of batches, after a restart too, and what follows concerns them."""
    everybody, said = [who for each in people.values() for who in each], list[Said]()
    with local_cluster(folder, cluster=of(partitions)) as cluster:
        for size, names in people.items():
            said += send(cluster, order, names, size)
        check_people(cluster, everybody, said)
    with local_cluster(folder, cluster=of(partitions)) as cluster:
        check_people(cluster, everybody, said)
        check_what_follows(cluster, everybody, said)


def main() -> None:
    """Try random arrivals and print how many there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    print(f"arrivals with --seed {arguments.seed}", flush=True)
    random, ends, count = Random(arguments.seed), time.monotonic() + arguments.seconds, 0
    while time.monotonic() < ends or not count:
        order, partitions = random.choice(ORDERS), random.choice((1, 2, 8, 16, 64))
        sizes = random.sample(range(1, 61), 3)
        print(f"order {order}, {partitions} partitions, batches of {sizes}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            check_arrivals(
                Path(folder), partitions, order, {size: [f"-{size}-{number}" for number in range(60)] for size in sizes}
            )
        count += 1
    print(f"{count} arrivals, all of them the same profiles")


if __name__ == "__main__":
    main()
