"""The states that the same records can be in, for answers that must not depend on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.raw_records import Record
from tests.shards import Shards


def unsealed(shards: Shards, batches: Sequence[Sequence[Record]]) -> None:
    """Everything in the deltas."""
    for batch in batches:
        shards.apply(batch)


def sealed(shards: Shards, batches: Sequence[Sequence[Record]]) -> None:
    """Everything in chunks."""
    unsealed(shards, batches)
    shards.seal()


def half_sealed(shards: Shards, batches: Sequence[Sequence[Record]]) -> None:
    """The first half in chunks, the rest in the deltas."""
    middle = len(batches) // 2
    sealed(shards, batches[:middle])
    unsealed(shards, batches[middle:])


def compacted(shards: Shards, batches: Sequence[Sequence[Record]]) -> None:
    """Sealed after every batch, so that chunks were merged."""
    for batch in batches:
        sealed(shards, [batch])


STATES = {"unsealed": unsealed, "sealed": sealed, "half sealed": half_sealed, "compacted": compacted}


def batches(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    """Records in batches of a size."""
    return [records[start : start + size] for start in range(0, len(records), size)]


def every_state(records: Sequence[Record], size: int) -> Iterator[tuple[str, Shards]]:
    """Shards with the records, by a name of their state: one and four partitions, sealed to different degrees."""
    for state, fill in STATES.items():
        for partition_count in (1, 4):
            shards = Shards(partition_count)
            fill(shards, batches(records, size))
            yield f"{state}, {partition_count} partitions", shards
