"""`cdp log dump` looks into the logs of all shards that have a directory, whenever they were added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdp_router.cli.cluster.log_command import log
from cdp_router.cluster.topology import ClusterDirectory
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.ids import PartitionId
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.store import Delivery, Store
from tests.raw_records import Event, user
from tests.shards import batch_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A cluster made with two shards, and a third one that took partition 0 over; each with a batch."""
    directory = ClusterDirectory(tmp_path)
    cluster = directory.load_or_create(2, 2)
    for shard, partition in ((0, 0), (1, 1), (2, 0)):
        path = directory.shard_path(shard)
        store = Store(path, cluster.shard_identity(shard), cluster.hash_key, OsFiles())
        if shard == 2:
            store.holdings.change(PartitionId(0), Holding(HoldingState.OWNED, 2))
        store.recover(lambda *_: None)
        if shard == 2:
            store.unstage(PartitionId(0), store.empty_partition(PartitionId(0)))
        store.commit([Delivery(PartitionId(partition), batch_of([Event(user(f"u{shard}"), "View", 1)]))])
        store.close()
    return tmp_path


def test_a_place_without_a_cluster_is_said_and_not_called_damaged(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        done = CliRunner().invoke(log, ["dump", "--data", str(place)])
        assert done.exit_code == 1, done.output
        assert done.stderr == f"error: there is no cluster in {place}; give the --data directory of `cdp up`\n"


def test_data_without_their_cluster_file_are_said_to_lack_it(data: Path) -> None:
    (data / "cluster.json").unlink()
    done = CliRunner().invoke(log, ["dump", "--data", str(data)])
    assert done.exit_code == 1 and f"{data / 'cluster.json'} is missing" in done.stderr


@pytest.mark.parametrize(("options", "shards"), [([], [0, 1, 2]), (["--shard", "2"], [2])])
def test_added_shards_are_listed_too(data: Path, options: list[str], shards: list[int]) -> None:
    done = CliRunner().invoke(log, ["dump", "--data", str(data), "--json", "--records", *options])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["shard"], line["records"][0]["identifier"]) for line in lines] == [
        (shard, f"user_id u{shard}") for shard in shards
    ]


def test_a_shard_that_is_not_there_is_refused_with_those_that_are(data: Path) -> None:
    done = CliRunner().invoke(log, ["dump", "--data", str(data), "--shard", "7"])
    assert done.exit_code == 2 and "none of the shards in" in done.stderr and "0, 1, 2" in done.stderr
