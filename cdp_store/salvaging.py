"""Salvaging the log of a shard that does not start."""

from __future__ import annotations

import os
from pathlib import Path

from cdp_store.errors import BatchMalformed, SnapshotDamaged
from cdp_store.log.format import LogRecord
from cdp_store.log.reader import Positions
from cdp_store.log.salvage import Salvage, Salvaged
from cdp_store.logged import Logged
from cdp_store.seams import Files
from cdp_store.shard_directory import lock_directory, log_path, snapshots_path
from cdp_store.snapshot.keeper import positions
from cdp_store.snapshot.places import LocalPlace
from cdp_store.snapshot.reader import read_manifest, snapshot_numbers


def salvage_shard(directory: Path, files: Files) -> Salvaged:
    """Set aside what of a shard's log cannot be read; DirectoryInUse when a process has it open."""
    descriptor = lock_directory(directory)
    try:
        return Salvage(log_path(directory), files, _held_by_snapshots(directory, files), _is_usable).run()
    finally:
        os.close(descriptor)


def _held_by_snapshots(directory: Path, files: Files) -> Positions | None:
    """Up to where the newest readable snapshot holds the data: the log may begin anywhere before. None without one."""
    place = LocalPlace(snapshots_path(directory), files)
    for number in snapshot_numbers(place):
        try:
            return positions(read_manifest(place, number))
        except SnapshotDamaged:
            continue
    return None


def _is_usable(record: LogRecord) -> bool:
    try:
        Logged.decode(record)
    except (BatchMalformed, ValueError):  # ValueError: a kind that this version does not know
        return False
    return True
