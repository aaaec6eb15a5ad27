"""Documents that are kept with partitions, such as named segments, on their way into another data directory.

They come from the newest version in the source, also in a restore to an earlier instant: they are no history of
profiles, and a later consent withdrawn or segment renamed stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cdp_router.cluster.placement import Placement
from cdp_store.directory.documents import Document, Documents
from cdp_store.directory.shard_directory import read_identity
from cdp_store.errors import DocumentsNotDealtOut, SnapshotDamaged
from cdp_store.ids import PartitionId
from cdp_store.outside.seams import OsFiles
from cdp_store.snapshot.places import SnapshotPlace, place_at
from cdp_store.snapshot.reader import PartitionReader, read_manifest, snapshot_numbers

OF_CLUSTER: Final = PartitionId(0)
"""The partition that keeps documents of the whole cluster."""

Kept = Mapping[PartitionId, Mapping[str, Document]]


def documents_in(source: str, placement: Placement, tell: Callable[[str], None]) -> Kept:
    """The documents of every partition of a data directory, or of a copy of snapshots, if there are any."""
    found = dict[PartitionId, Mapping[str, Document]]()
    for shard, numbers in placement.items():
        directory = None if "://" in source else Path(source).expanduser() / f"shard-{shard}"
        if directory is not None and (directory / "identity.json").exists():
            documents = Documents(directory, read_identity(directory), OsFiles())
            documents.check()
            found |= {PartitionId(number): documents.of(PartitionId(number)) for number in numbers}
        else:
            found |= _in_newest(place_at(source, f"shard-{shard}/snapshots"), frozenset(numbers), tell)
    return {number: each for number, each in found.items() if each}


def dealt_out(kept: Kept, only: frozenset[int] | None, *, is_rerouted: bool) -> Kept:
    """The documents that belong into the new directory: always the cluster's, others together with their partition.

    Raises DocumentsNotDealtOut if the number of partitions of those changes.
    """
    wanted = {number: each for number, each in kept.items() if only is None or number in only or number == OF_CLUSTER}
    others = sorted(number for number in wanted if number != OF_CLUSTER)
    if is_rerouted and others:
        raise DocumentsNotDealtOut(others[0], sorted(wanted[others[0]]))
    return wanted


def _in_newest(place: SnapshotPlace, numbers: frozenset[int], tell: Callable[[str], None]) -> Kept:
    for number in snapshot_numbers(place):
        try:
            manifest = read_manifest(place, number)
            entries = [each for each in manifest.partitions if each.partition in numbers]
            return {PartitionId(each.partition): PartitionReader(place, manifest, each).documents() for each in entries}
        except SnapshotDamaged as error:
            tell(f"{error}; reading documents from an older one")
    return {}
