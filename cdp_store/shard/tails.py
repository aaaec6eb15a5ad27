"""Tail of a partition: entries logged while another shard copies it, kept until the taker has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from cdp_store.errors import TailLost
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import TAIL_BYTES_MAX, TAIL_PIECE_BYTES
from cdp_store.log.format import LogEntry


class Tail:
    """The entries of one partition after a sequence number, in order."""

    def __init__(self, start: SequenceNumber, bytes_max: int = TAIL_BYTES_MAX) -> None:
        self._start, self._bytes_max = start, bytes_max
        self._entries, self._size = deque[LogEntry](), 0

    def note(self, entry: LogEntry) -> None:
        """Keeps an entry; beyond the limit all entries are dropped, and the copy has to begin again."""
        self._entries.append(entry)
        self._size += len(entry.payload)
        if self._size > self._bytes_max:
            # Dropped entirely: a tail with a gap is useless, and a new copy costs one snapshot.
            self._start, self._size = entry.sequence, 0
            self._entries.clear()

    def after(self, sequence: SequenceNumber) -> list[LogEntry]:
        """Entries after `sequence`, or the first part of them when they are many; earlier ones are dropped.

        Raises TailLost when the entries after `sequence` are no longer kept.
        """
        # The taker has durably logged everything up to `sequence`.
        while self._entries and self._entries[0].sequence <= sequence:
            dropped = self._entries.popleft()
            self._start, self._size = dropped.sequence, self._size - len(dropped.payload)
        if sequence < self._start:
            raise TailLost(sequence)
        found, size = list[LogEntry](), 0
        for entry in self._entries:
            # The first one whatever its size: a piece is empty only where nothing is left.
            if found and size + len(entry.payload) > TAIL_PIECE_BYTES:
                break
            found.append(entry)
            size += len(entry.payload)
        return found


class Tails:
    """The tails of all partitions that are being copied; used by the one writer of a store."""

    def __init__(self) -> None:
        self._tails = dict[PartitionId, Tail]()

    def open(self, partition: PartitionId, start: SequenceNumber) -> None:
        """Keeps the partition's entries after `start`, from now on."""
        self._tails[partition] = Tail(start)

    def close(self, partition: PartitionId) -> None:
        """Stops keeping the partition's entries."""
        self._tails.pop(partition, None)

    def note(self, entries: Iterable[LogEntry]) -> None:
        """Keeps logged entries of the partitions that are being copied."""
        for entry in entries if self._tails else ():
            tail = self._tails.get(entry.partition)
            if tail is not None:
                tail.note(entry)

    def after(self, partition: PartitionId, sequence: SequenceNumber) -> Sequence[LogEntry]:
        """Entries logged after `sequence`, or the first part of them; TailLost when they are not kept."""
        tail = self._tails.get(partition)
        if tail is None:
            raise TailLost(sequence)
        return tail.after(sequence)
