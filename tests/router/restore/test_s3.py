"""A snapshot to an S3 server of this machine and a restore from it, and what is said when it does not work."""

from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.core import set_initial_no_auth_action_count
from moto.server import ThreadedMotoServer

from cdp_router.restore.cluster_restore import Wanted, restore, verify_source
from cdp_router.shard.snapshots import Snapshots
from cdp_store.errors import PlaceUnusable
from cdp_store.snapshot.keeper import copy_snapshot
from cdp_store.snapshot.places import place_at
from tests.router.local_cluster import FixedClock
from tests.router.restore.test_restoring import RECORDS, Data, opened

URI = "s3://bucket/some/folder"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = http.client.HTTPConnection(host, port)
    connection.request("PUT", "/bucket")
    assert connection.getresponse().status == 200
    connection.close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def copied(data: Data, destination: str) -> None:
    """Snapshots of all shards and the cluster's file, as `cdp snapshot --to` makes them."""
    for store in data.stores:
        snapshots = Snapshots(store, FixedClock())
        snapshots._take(destination)
        asyncio.run(snapshots.close())
    cluster = data.directory.cluster_path.read_bytes()
    place_at(destination).publish("cluster.json", cluster)


def test_a_cluster_is_copied_to_s3_and_restored_from_it_in_another_shape(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS[:50])
        copied(data, URI)
        data.deliver(RECORDS[50:])
        copied(data, URI)
        before = data.digest()
    snapshots, files, size, problems = verify_source(URI)
    assert (snapshots, problems) == (4, []) and files > 4 and size > 1000
    done = restore(URI, tmp_path / "new", Wanted(1, 3), lambda _: None, 0)
    assert done.digest == before
    with opened(tmp_path / "new", 1, 3) as data:
        assert data.digest() == before


def test_what_an_interrupted_copy_left_is_written_again_and_another_history_is_refused(tmp_path: Path) -> None:
    target = place_at(f"{URI}/again", "shard-0/snapshots")
    with opened(tmp_path / "source", 1, 1) as data:
        data.deliver(RECORDS)
        data.snapshot()
        [store] = data.stores
        name = next(name for name in store.snapshot_place.names() if "-events-" in name)
        target.write(name, store.snapshot_place.read(name)[:-5])
        copy_snapshot(store.snapshot_place, target, 1)
        assert copy_snapshot(store.snapshot_place, target, 1) == 0, "nothing is copied twice"
        assert target.read(name) == store.snapshot_place.read(name)
        restore(str(tmp_path / "source"), tmp_path / "back", Wanted(), lambda _: None, 0)
        data.deliver(RECORDS[:3])
        data.snapshot()
        copy_snapshot(store.snapshot_place, target, 2)
    with opened(tmp_path / "back", 1, 1) as data:
        [store] = data.stores
        data.deliver(RECORDS[5:20])
        data.snapshot()
        with pytest.raises(PlaceUnusable, match="choose another place"):
            copy_snapshot(store.snapshot_place, target, 2)
    with opened(tmp_path / "other", 1, 1) as data:
        data.snapshot()
        [store] = data.stores
        with pytest.raises(PlaceUnusable, match="another cluster's"):
            copy_snapshot(store.snapshot_place, target, 1)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceUnusable, match="no server answers at http://127.0.0.1:9"):
        place_at(URI)


def test_a_bucket_that_is_not_there_is_named_before_a_snapshot_is_taken(tmp_path: Path) -> None:
    with opened(tmp_path / "source", 1, 1) as data:
        with pytest.raises(PlaceUnusable, match="there is no bucket nowhere"):
            copied(data, "s3://nowhere/folder")
        assert data.stores[0].snapshot_place.names() == []


@set_initial_no_auth_action_count(0)
def test_credentials_that_are_refused_are_told() -> None:
    with pytest.raises(PlaceUnusable, match="credentials are refused"):
        place_at(URI).names()


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket?region=x", "s4://bucket/folder"])
def test_an_address_that_is_none_is_told(uri: str) -> None:
    with pytest.raises(PlaceUnusable):
        place_at(uri)


def test_a_folder_without_a_cluster_is_told() -> None:
    with pytest.raises(PlaceUnusable, match=r"there is no cluster\.json"):
        verify_source(f"{URI}/elsewhere")
