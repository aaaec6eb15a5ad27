"""Progress of a restore."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from cdp_store.ids import PartitionId

Tell = Callable[[str], None]


def percentage(tell: Tell) -> Callable[[int, int], None]:
    """Reports the replayed part of a log, at every tenth."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done * 10 // total > told:
            told = done * 10 // total
            tell(f"{told * 10} % of the log replayed")

    return progress


def counted(tell: Tell, total: int) -> Callable[[PartitionId], None]:
    """Reports how many of all partitions are loaded."""
    done = count(1)
    return lambda _: tell(f"{next(done)} of {total} partitions loaded")


def named(tell: Tell, shard: int) -> Tell:
    """Reports about one shard."""
    return lambda text: tell(f"shard {shard}: {text}")
