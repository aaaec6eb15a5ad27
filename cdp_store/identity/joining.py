"""Records that arrive at the partition of the profile they belong to, as changes of its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cdp_store.identity.dropped import Dropped
from cdp_store.ids import SequenceNumber
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.nested import Given
from cdp_store.records.records import RecordBatch, Strings

MemoryChange = Callable[[PartitionMemory], object]


@dataclass(frozen=True, slots=True)
class Joining:
    """Effect of arriving records on a partition's memory: profiles that must be put in order are removed and added
    again together with them, and with the summaries of their dropped events."""

    gone: tuple[bytes, ...]
    parts: tuple[RecordBatch, ...]
    dropped: tuple[Dropped, ...]

    def changes(self, sequence: SequenceNumber) -> list[MemoryChange]:
        """Changes of the memory."""
        gone: list[MemoryChange] = [lambda memory: memory.erase(list(self.gone), sequence)] if self.gone else []
        return [*gone, *(applying(part, sequence) for part in self.parts)]


def applying(batch: RecordBatch, sequence: SequenceNumber) -> MemoryChange:
    """A change that applies the records to a memory at a position of the log."""
    return lambda memory: memory.apply(batch, sequence, Given.BY_INSTANT)


def renamed(batch: RecordBatch, identities: list[bytes]) -> RecordBatch:
    """The records under other identifiers, one for each identity of the batch."""
    return replace(batch, identities=Strings.of(identities))


def renamed_all(batch: RecordBatch, identity: bytes) -> RecordBatch:
    """All of the records under one identifier."""
    return renamed(batch, [identity] * len(batch.identities))
