"""Memory that a shard may take before it refuses new data, so that it never dies of it and queries go on."""

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
    """Memory there is: that of the machine, or less where a control group of this process allows less."""
    found = [int(psutil.virtual_memory().total)]
    for path in limit_files() if cgroup_limits is None else cgroup_limits:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such control group, or one without a limit ("max")
    return min(found)


def default_bytes(shards: int, machine: int | None = None) -> int:
    """Default budget of each of so many shards on this machine.

    Where there is little, router, gateway and supervisor come first, but for a quarter of it.
    """
    there = machine_bytes() if machine is None else machine
    left = max(there - MEMORY_OF_OTHER_PROCESSES, there // 4)
    return min(int(there * MEMORY_SHARE_OF_SHARDS), left) // shards


class MemoryBudget:
    """Admission by the memory the process occupies: what the system counts, and what it would kill the process for."""

    def __init__(self, bytes_max: int, resident: Callable[[], int] | None = None) -> None:
        # Looking a process up costs several times what reading its memory does, and this is asked for every batch.
        self._bytes_max, self._resident = bytes_max, resident or partial(_resident_of, psutil.Process())

    def admit(self, arriving_bytes: int) -> None:
        """Raise Overloaded when data that arrive, or arrived and wait, would take memory above the high-water mark."""
        mark = int(self._bytes_max * MEMORY_HIGH_WATER)
        held = self._resident()
        if held + arriving_bytes > mark:
            raise Overloaded(
                f"the shard takes {held // MIB} MiB of memory and accepts new data up to {mark // MIB} MiB; queries go"
                " on. Give it more memory, or add shards",
                MEMORY_RETRY_AFTER_MS,
            )
