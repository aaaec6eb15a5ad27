"""What a shard tells of its log and its snapshots."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from cdp_router.observing.durability_metrics import Kept, KeptMetrics, MeasuredFiles
from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.ids import PartitionId
from cdp_store.shard.store import Delivery, Store
from tests.raw_records import Event, user
from tests.router.local_cluster import FixedClock
from tests.shards import KEY, batch_of

IDENTITY = ShardIdentity("test", 0, (0,))


def test_syncs_bytes_and_the_newest_snapshot_are_told(tmp_path: Path) -> None:
    registry, clock = CollectorRegistry(), FixedClock(5_000)
    store = Store(tmp_path, IDENTITY, KEY, MeasuredFiles(registry))
    registry.register(KeptMetrics(lambda: Kept(store.log_bytes, store.newest_snapshot), clock))
    store.recover(lambda *_: None)
    value = registry.get_sample_value
    before, written = value("cdp_log_sync_seconds_count"), value("cdp_log_written_bytes_total")
    assert before is not None and written is not None
    assert value("cdp_snapshot_age_seconds") is None, "there is no snapshot"
    for number in range(3):
        store.commit([Delivery(PartitionId(0), batch_of([Event(user("ann"), "View", number)]))])
    [segment] = (tmp_path / "log").glob("*.cdplog")
    assert value("cdp_log_sync_seconds_count") == before + 3
    assert value("cdp_log_bytes") == segment.stat().st_size == value("cdp_log_written_bytes_total")
    store.snapshot(clock.now)
    clock.now += 7_500
    assert value("cdp_log_sync_seconds_count") == before + 3, "files of snapshots are no part of the log"
    assert (value("cdp_snapshot_age_seconds"), value("cdp_snapshot_number")) == (7.5, 1)
    files = (tmp_path / "snapshots").glob("*.parquet")
    assert value("cdp_snapshot_bytes") == sum(path.stat().st_size for path in files)
    store.close()
