"""The states that the same records can be in, for answers that must not depend on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.raw_records import Record
from tests.shards import Shards, Spread


def unsealed(shards: Shards, batches: Sequence[Spread]) -> None:
    """Everything in the deltas."""
    for batch in batches:
        shards.take(batch)


def sealed(shards: Shards, batches: Sequence[Spread]) -> None:
    """Everything in chunks."""
    unsealed(shards, batches)
    shards.seal()


def half_sealed(shards: Shards, batches: Sequence[Spread]) -> None:
    """The first half in chunks, the rest in the deltas."""
    middle = len(batches) // 2
    sealed(shards, batches[:middle])
    unsealed(shards, batches[middle:])


def compacted(shards: Shards, batches: Sequence[Spread]) -> None:
    """Sealed after every batch, so that chunks were merged."""
    for batch in batches:
        sealed(shards, [batch])


STATES = {"unsealed": unsealed, "sealed": sealed, "half sealed": half_sealed, "compacted": compacted}


def spread(shards: Shards, records: Sequence[Record], size: int) -> list[Spread]:
    """Records in batches of a size, each spread over the partitions."""
    return [shards.spread(records[start : start + size]) for start in range(0, len(records), size)]


def every_state(records: Sequence[Record], size: int) -> Iterator[tuple[str, Shards]]:
    """Shards with the records, by a name of their state: sealed to four degrees, two of them in one partition and two
    in four; the records say which two.

    Shards that were unsealed are sealed next: they must be done with when the next ones are taken.
    """
    counts = (1, 4) if sum(record.ts for record in records) % 2 else (4, 1)
    shards = Shards(counts[0])
    unsealed(shards, spread(shards, records, size))
    yield f"unsealed, {counts[0]} partitions", shards
    shards.seal()
    yield f"sealed, {counts[0]} partitions", shards
    batches = spread(Shards(counts[1]), records, size)
    for fill in (half_sealed, compacted):
        shards = Shards(counts[1])
        fill(shards, batches)
        yield f"{fill.__name__}, {counts[1]} partitions", shards
