"""Memory that a shard may use before it refuses new data, so that it never runs out and queries continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import psutil

from cdp_router.errors import Overloaded
from cdp_router.limits import (
    MEMORY_HIGH_WATER,
    MEMORY_OF_OTHER_PROCESSES,
    MEMORY_RETRY_AFTER_MS,
    MEMORY_SHARE_OF_SHARDS,
)
from cdp_router.shard.control_groups import limit_files
from cdp_store.limits import MIB


def resident_bytes() -> int:
    """Memory this process occupies."""
    return _resident_of(psutil.Process())


def _resident_of(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def machine_bytes(cgroup_limits: Iterable[Path] | None = None) -> int:
    """Memory available: that of the machine, or less if a control group of this process allows less."""
    found = [int(psutil.virtual_memory().total)]
    for path in limit_files() if cgroup_limits is None else cgroup_limits:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such control group, or one without a limit ("max")
    return min(found)


def default_bytes(shards: int, machine: int | None = None) -> int:
    """Default budget of each of so many shards on this machine.

    On a small machine router, gateway and supervisor come first, except for a quarter of it.
    """
    there = machine_bytes() if machine is None else machine
    left = max(there - MEMORY_OF_OTHER_PROCESSES, there // 4)
    return min(int(there * MEMORY_SHARE_OF_SHARDS), left) // shards


class MemoryBudget:
    """Admission by the memory the process occupies: the number for which the system would kill the process."""

    def __init__(self, bytes_max: int, resident: Callable[[], int] | None = None) -> None:
        # Finding a process costs several times as much as reading its memory, and this runs for every batch.
        self._bytes_max, self._resident = bytes_max, resident or partial(_resident_of, psutil.Process())

    def admit(self, arriving_bytes: int) -> None:
        """Raises Overloaded if arriving or waiting data would bring memory above the high-water mark."""
        mark = int(self._bytes_max * MEMORY_HIGH_WATER)
        held = self._resident()
        if held + arriving_bytes > mark:
            raise Overloaded(
                f"the shard uses {held // MIB} MiB of memory and accepts new data up to {mark // MIB} MiB; queries"
                " continue. Give it more memory, or add shards",
                MEMORY_RETRY_AFTER_MS,
            )
