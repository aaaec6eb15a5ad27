"""A parcel in pieces that each fit a log record and a message: all are received before any record becomes visible.

The cuts depend on the order of the records at the source, which may change with a restart. The checksum of the whole
shows that, and the pieces are sent again from the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import google_crc32c
import numpy as np

from cdp_store.identity.identity_changes import Arrival, Parcel
from cdp_store.identity.transfers import Arriving, OpenTransfer
from cdp_store.ids import PartitionId
from cdp_store.limits import PARCEL_PIECE_BYTES
from cdp_store.memory.contents import joined_batches, record_hashes, record_sizes


@dataclass(frozen=True, slots=True)
class Pieces:
    """Cut of a parcel: the first record of each piece; and a checksum of the records in their order."""

    starts: tuple[int, ...]
    checksum: int

    @staticmethod
    def of(parcel: Parcel) -> Pieces:
        """Fewest pieces of a parcel within the size limit; each has a record at least, if the parcel has any."""
        ends = np.cumsum(record_sizes(parcel.records))
        starts, given = [0], 0
        while (following := int(np.searchsorted(ends, given + PARCEL_PIECE_BYTES, "right"))) < len(parcel.records):
            starts.append(max(following, starts[-1] + 1))
            given = int(ends[starts[-1] - 1])
        if len(starts) == 1:
            return Pieces((0,), 0)
        records = parcel.records
        said = np.stack((record_hashes(records), records.record_identities.astype(np.uint64))).tobytes()
        return Pieces(tuple(starts), int(google_crc32c.extend(google_crc32c.value(said), records.identities.data)))

    def arrival(self, source: PartitionId, opened: OpenTransfer, piece: int) -> Arrival:
        """One piece of a transfer as the destination logs it; the last one has the parts that are no records."""
        count, parcel = len(self.starts), opened.parcel
        if count == 1:
            return Arrival(source, opened.number, parcel)
        stop = self.starts[piece + 1] if piece + 1 < count else len(parcel.records)
        records = parcel.records.take(np.arange(self.starts[piece], stop))
        part = replace(parcel, records=records) if piece + 1 == count else Parcel(records, ())
        return Arrival(source, opened.number, part, piece, count, self.checksum)


def next_piece(staged: Arriving | None, arrival: Arrival) -> int:
    """Number of the piece of an arrival's transfer that is expected."""
    if staged is None or (staged.transfer, staged.checksum) != (arrival.transfer, arrival.checksum):
        return 0
    return len(staged.pieces)


def staged_with(staged: Arriving | None, arrival: Arrival) -> Arriving:
    """Pieces of a transfer that have arrived, with the expected one."""
    before = staged.pieces if staged is not None and arrival.piece else ()
    return Arriving(arrival.transfer, arrival.checksum, (*before, arrival.parcel.records))


def whole(staged: Arriving | None, arrival: Arrival) -> Parcel:
    """The whole parcel, once its last piece has arrived."""
    if staged is None or arrival.pieces == 1:
        return arrival.parcel
    return replace(arrival.parcel, records=joined_batches([*staged.pieces, arrival.parcel.records]))
