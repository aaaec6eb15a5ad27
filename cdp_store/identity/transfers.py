"""Transfers between this partition and each other one, and their progress.

There is at most one open transfer from one partition to another, and transfers of such a pair arrive in the order of
their numbers: so one number at either end shows which of them have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64
from cdp_store.identity.identity_changes import Parcel
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.records.records import RecordBatch


@dataclass(frozen=True, slots=True)
class OpenTransfer:
    """A transfer that has begun: its number, its parcel, and the identifiers of the profiles that leave."""

    number: SequenceNumber
    parcel: Parcel
    leaving: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Arriving:
    """A transfer with some pieces here: its number, the checksum of all its records, and the records of the pieces.

    None of these records is visible yet.
    """

    transfer: SequenceNumber
    checksum: int
    pieces: tuple[RecordBatch, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """Transfers to one partition: the last one that is finished here, and the open one; 0 for none.

    `rows` are those of the profiles that the open one carries; they are still part of every answer.
    """

    released: int
    open: int
    rows: I64


@dataclass(frozen=True, slots=True)
class TransferReading:
    """The ends of all transfers at one partition, as in a view of it: sent by partition, last received by partition."""

    sent: Mapping[int, Sent]
    received: Mapping[int, int]


class Transfers:
    """The ends of transfers here."""

    def __init__(self) -> None:
        self.open = dict[PartitionId, OpenTransfer]()
        self.arriving = dict[PartitionId, Arriving]()
        self.released = dict[PartitionId, SequenceNumber]()
        self.received = dict[PartitionId, SequenceNumber]()

    def underway(self) -> set[bytes]:
        """Identifiers of all profiles that are leaving."""
        return {identifier for transfer in self.open.values() for identifier in transfer.leaving}

    def has_received(self, source: PartitionId, number: SequenceNumber) -> bool:
        """True if a transfer has arrived."""
        return self.received.get(source, 0) >= number

    def records(self) -> list[RecordBatch]:
        """All records that are under way from here, or have arrived in part."""
        leaving = [each.parcel.records for each in self.open.values()]
        return [*leaving, *(piece for each in self.arriving.values() for piece in each.pieces)]

    def reading(self, in_transit: Mapping[bytes, int]) -> TransferReading:
        """State of all transfers; `in_transit` gives the rows of profiles that are leaving."""
        sent, nothing = dict[int, Sent](), np.zeros(0, np.int64)
        for to in {*self.open, *self.released}:
            opened = self.open.get(to)
            rows: I64 = nothing
            if opened is not None:
                rows = np.array([in_transit[each] for each in opened.leaving if each in in_transit], np.int64)
            sent[to] = Sent(self.released.get(to, 0), 0 if opened is None else opened.number, rows)
        return TransferReading(sent, {source: int(number) for source, number in self.received.items()})

    @property
    def is_empty(self) -> bool:
        """True if there never was one."""
        return not (self.open or self.arriving or self.released or self.received)
