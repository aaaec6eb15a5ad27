"""Placement of partitions in the directories of shards, read from a data directory or a copy of snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdp_router.cluster.topology import ClusterFile
from cdp_store.directory.holdings import read_holdings
from cdp_store.directory.shard_directory import read_identity
from cdp_store.errors import DirectoryDamaged, SnapshotDamaged
from cdp_store.ids import PartitionId
from cdp_store.outside.sealed import seal_json, unseal_json
from cdp_store.snapshot.places import SnapshotPlace, place_at

PLACEMENT_NAME: Final = "placement.json"
_SHARD: Final = "shard-"

Placement = Mapping[int, Sequence[int]]  # partitions by shard


def publish_placement(place: SnapshotPlace, placement: Placement, cluster: ClusterFile) -> None:
    """Writes a file next to a copy of snapshots that lists the partitions of each shard."""
    held = {shard: list(partitions) for shard, partitions in placement.items()}
    place.publish(PLACEMENT_NAME, seal_json(held, cluster.mark(PLACEMENT_NAME)))


def placement_in(source: str, cluster: ClusterFile) -> dict[int, list[int]]:
    """Partitions by the shard whose snapshots, and log, hold them; the first placement if nothing else is recorded."""
    directory = None if "://" in source else Path(source).expanduser()
    if directory is not None and any(directory.glob(f"{_SHARD}*/identity.json")):
        return _of_directories(directory, cluster)
    place = place_at(source)
    if PLACEMENT_NAME not in place.names():
        return {shard: list(cluster.first_partitions_of_shard(shard)) for shard in range(cluster.shards)}
    data, mark = place.read(PLACEMENT_NAME).to_pybytes(), cluster.mark(PLACEMENT_NAME)
    try:
        return unseal_json(Path(PLACEMENT_NAME), data, dict[int, list[int]], mark).value
    except DirectoryDamaged as error:
        raise SnapshotDamaged(f"{source}/{PLACEMENT_NAME}", error.problem) from error


def newest_epoch(directory: Path) -> int:
    """The newest epoch that any shard of a data directory knows, 0 if none can be read: it may be damaged."""
    epochs = [0]
    for path in directory.glob(f"{_SHARD}*"):
        if (path / "identity.json").exists():
            with suppress(DirectoryDamaged):
                epochs += [held.epoch for held in read_holdings(path, read_identity(path)).values()]
    return max(epochs)


def _of_directories(directory: Path, cluster: ClusterFile) -> dict[int, list[int]]:
    """By what the shards record; of several that have a partition's data, the one of the newest epoch has all of it."""
    newest = dict[PartitionId, tuple[int, int]]()
    for path in directory.glob(f"{_SHARD}*"):
        if not (path / "identity.json").exists():
            continue
        identity = read_identity(path)
        for partition, holding in read_holdings(path, identity).items():
            if holding.is_in_memory:
                newest[partition] = max(newest.get(partition, (0, 0)), (holding.owned_epoch, identity.shard))
    found: dict[int, list[int]] = {shard: [] for shard in range(cluster.shards)}
    for number, (_, shard) in sorted(newest.items()):
        found.setdefault(shard, []).append(number)
    return found
