"""An admin takes a flood of event names back: the names are free at once, and stay so over restarts and snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from cdp.v1 import admin_pb2, ingest_pb2, query_pb2, shard_pb2

from cdp_router.cluster.shard_methods import READ_SCHEMA
from cdp_router.erasure.erasures import Erasures
from cdp_router.erasure.retention import forget_events
from cdp_router.errors import RequestInvalid
from cdp_store.limits import EVENT_NAMES_MAX
from tests.router.encodings import msgpack_batch
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster


def _send(cluster: LocalCluster, names: list[str]) -> ingest_pb2.BatchResult:
    return cluster.ingest(
        msgpack_batch([[name, f"u{n % 50}", None, NOW_MS - n, None, {}] for n, name in enumerate(names)])
    )


def _forget(cluster: LocalCluster, names: list[str], *, unused: bool = False) -> list[str]:
    return list(cluster.run(forget_events(names, cluster.routing, far_deadline(), unused=unused)).events)


def _known(cluster: LocalCluster) -> set[str]:
    found = [
        cluster.run(shard.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), far_deadline()))
        for shard in cluster.shards.values()
    ]
    return {name for each in found for name in each.names.events}


def _count(cluster: LocalCluster, text: str) -> int:
    return cluster.run(cluster.asking.query(query_pb2.QueryRequest(text=text), far_deadline(), 0.0)).count


FLOOD = [f"flood {number}" for number in range(EVENT_NAMES_MAX) for _ in range(20)]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_flood_of_event_names_is_undone_for_good(tmp_path: Path, snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        assert _send(cluster, ["Order"] * 50).accepted == 50
        _send(cluster, FLOOD)
        refused = _send(cluster, ["Signup"] * 50)
        assert {each.code for each in refused.errors} == {"EVENT_NAMES_LIMIT"}
        flooded = sorted(name for name in _known(cluster) if name.startswith("flood"))
        assert _forget(cluster, [*flooded, "never seen"]) == flooded
        assert _known(cluster) == {"Order"}
        assert _send(cluster, ["Signup"] * 50).accepted == 50
        if snapshot:
            for server in cluster.servers:
                server._store.snapshot(NOW_MS)
    with local_cluster(tmp_path) as cluster:
        assert _count(cluster, 'did("Order")') == _count(cluster, 'did("Signup")') == 50
        assert _count(cluster, f'did("{flooded[0]}")') == 0
        fresh = [f"fresh {number}" for number in range(EVENT_NAMES_MAX - 2) for _ in range(4)]
        assert _send(cluster, fresh).accepted == len(fresh)
        assert _forget(cluster, [], unused=True) in ([], flooded)
        assert not any(name.startswith("flood") for name in _known(cluster))


def test_names_without_events_are_freed_when_asked_for_and_others_stay(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        _send(cluster, ["Order"] * 50)
        assert _forget(cluster, [], unused=True) == []
        assert _known(cluster) == {"Order"}
        with pytest.raises(RequestInvalid):
            _forget(cluster, [])
        with pytest.raises(RequestInvalid):
            _forget(cluster, [""])


def _properties(cluster: LocalCluster) -> set[str]:
    found = [
        cluster.run(shard.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), far_deadline()))
        for shard in cluster.shards.values()
    ]
    return {name for each in found for name in each.names.properties}


@pytest.mark.parametrize("snapshot", [False, True])
def test_names_of_properties_go_with_the_events_that_had_them_for_good(tmp_path: Path, snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        sent = [["Flood", f"u{n}", None, NOW_MS - n, None, {f"p{n}": "x", "plan": "gold"}] for n in range(40)]
        sent += [["Order", f"u{n}", None, NOW_MS - n, None, {"plan": "free"}] for n in range(40)]
        assert cluster.ingest(msgpack_batch(sent)).accepted == 80
        assert _forget(cluster, ["Flood"]) == ["Flood"]
        if snapshot:
            for server in cluster.servers:
                server._store.snapshot(NOW_MS)
    with local_cluster(tmp_path) as cluster:
        for server in cluster.servers:
            server._store.purge()
        assert _properties(cluster) == {"plan"}
        assert (
            _count(cluster, 'did("Order", plan = "free")') == 40 and _count(cluster, 'did("Order", plan = "gold")') == 0
        )


def _attributes(cluster: LocalCluster) -> set[str]:
    found = [
        cluster.run(shard.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), far_deadline()))
        for shard in cluster.shards.values()
    ]
    return {name for each in found for name in each.names.attributes}


@pytest.mark.parametrize("snapshot", [False, True])
def test_names_of_attributes_go_once_no_profile_has_them_for_good(tmp_path: Path, snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        sent = [[None, f"bot{n}", None, NOW_MS - 99 - n, None, {f"a{n}": "x", "plan": "bot"}] for n in range(40)]
        sent += [
            [None, f"u{n}", None, NOW_MS - 99 - n, None, {"plan": "free", "address": {"city": "X"}}] for n in range(40)
        ]
        assert cluster.ingest(msgpack_batch(sent)).accepted == 80
        assert _forget(cluster, [], unused=True) == [] and len(_attributes(cluster)) == 43
        for n in range(40):
            request = admin_pb2.EraseProfileRequest(user_id=f"bot{n}")
            cluster.run(Erasures(cluster.routing).erase(request, far_deadline()))
        assert _forget(cluster, [], unused=True) == []
        assert _attributes(cluster) == {"plan", "address", "address.city"}
        if snapshot:
            for server in cluster.servers:
                server._store.snapshot(NOW_MS)
    with local_cluster(tmp_path) as cluster:
        for server in cluster.servers:
            server._store.purge()
        assert _attributes(cluster) == {"plan", "address", "address.city"}
        assert _count(cluster, 'plan = "free"') == _count(cluster, 'address.city = "X"') == 40
        assert _count(cluster, 'plan = "bot"') == 0
        later = [[None, f"u{n}", None, NOW_MS - 9, None, {"address": None, "new": 1}] for n in range(40)]
        assert cluster.ingest(msgpack_batch(later)).accepted == 40
        assert _count(cluster, 'address.city = "X"') == 0 and _count(cluster, "new = 1") == 40
