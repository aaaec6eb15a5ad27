"""Salvaging the log of a shard that does not start."""

from __future__ import annotations

import os
from pathlib import Path

from cdp_store.controls import decode_erasure, decode_retention
from cdp_store.errors import BatchMalformed
from cdp_store.log.format import LogRecord, RecordKind
from cdp_store.log.salvage import Salvage, Salvaged
from cdp_store.records import decode_batch
from cdp_store.seams import Files
from cdp_store.shard_directory import lock_directory, log_path


def salvage_shard(directory: Path, files: Files) -> Salvaged:
    """Set aside what of a shard's log cannot be read; DirectoryInUse when a process has it open."""
    descriptor = lock_directory(directory)
    try:
        return Salvage(log_path(directory), files, {}, _is_usable).run()
    finally:
        os.close(descriptor)


def _is_usable(record: LogRecord) -> bool:
    try:
        match record.kind:
            case RecordKind.BATCH:
                decode_batch(record.payload)
            case RecordKind.ERASE:
                decode_erasure(record.payload)
            case RecordKind.RETENTION:
                decode_retention(record.payload)
    except BatchMalformed:
        return False
    return True
