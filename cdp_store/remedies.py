"""Remedies for a damaged file, by its name: the texts of `DirectoryDamaged` in one place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

_SALVAGE: Final = "restore it from a backup, or start with --salvage, which makes it anew from the other files"
_DOCUMENT: Final = (
    "it is kept in documents/p0000 of the shard that holds partition 0: restore that file from a backup, or the "
    "cluster with `cdp restore`"
)
_BY_NAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cluster.json": (
            "restore it from a backup, or copy it from another machine of the cluster: without its key the data cannot "
            "be found again"
        ),
        "keys.json": (
            "restore it from a backup. Without one, remove it and make keys with `cdp keys create`; keys made before "
            "are gone then"
        ),
        "members.json": (
            "restore it from a backup, or start with --salvage, which makes it anew from the shards that are known here"
        ),
        "addresses.json": (
            "start `cdp up`, which writes it anew; where shards run on several machines, write it by hand as "
            '{"SHARD": "HOST:PORT"}'
        ),
        "inventory.json": _SALVAGE,
        "identity.json": _SALVAGE,
        "owner.json": "restore it from a backup, or remove it: the next start makes it anew",
        "holdings.json": (
            "restore it from a backup, or restore the whole directory with `cdp restore`. Where no partition was ever "
            "moved, --salvage makes it anew"
        ),
        "segments": _DOCUMENT,
        "schema": _DOCUMENT,
        "privacy": _DOCUMENT,
        "erasures": _DOCUMENT,
    }
)
_OF_DOCUMENTS: Final = (
    "restore it from a backup, or start with --salvage, which sets it aside and takes the documents of the newest "
    "snapshot"
)
_OTHERS: Final = "restore this file from a backup"


def remedy(path: Path) -> str:
    """Remedy for a damaged file."""
    if path.parent.name == "documents":
        return _OF_DOCUMENTS
    return _BY_NAME.get(path.name, _OTHERS)
