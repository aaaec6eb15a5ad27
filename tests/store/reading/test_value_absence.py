"""Texts of somebody forgotten are looked for beside commits: what those change is read under the partition's lock."""

from __future__ import annotations

from typing import Any

import numpy as np

from cdp_store.ids import PartitionId
from cdp_store.partition.partition import Partition
from cdp_store.reading.value_absence import scan_values
from tests.shards import KEY


class _Watched(Partition):
    """A partition whose identifiers and quarantine may be read under its lock only, once it is shared."""

    is_shared = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("identity", "quarantine") and object.__getattribute__(self, "is_shared"):
            assert object.__getattribute__(self, "_lock").locked(), f"{name} is read beside the commit thread"
        return super().__getattribute__(name)


def test_records_under_way_and_in_quarantine_are_read_under_the_lock() -> None:
    partition = _Watched(PartitionId(0), KEY)
    partition.is_shared = True
    assert scan_values([partition], None, np.ones(1, np.uint64)).found == []
