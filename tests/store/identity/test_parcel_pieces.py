"""A parcel in pieces shows nothing before it is whole, and is never made of pieces of two orders."""

from __future__ import annotations

import numpy as np
import pytest

import cdp_store.identity.pieces
from cdp_store.identity.identity_changes import Arrival, Parcel, decode_identity_change, encode_identity_change
from cdp_store.identity.identity_tables import from_tables, to_tables
from cdp_store.identity.pieces import Pieces
from cdp_store.identity.transfers import OpenTransfer
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.partition.partition import Partition
from tests.raw_records import Event, anonymous
from tests.shards import KEY, SMALL_LAYOUT, batch_of

SOURCE, NUMBER = PartitionId(0), SequenceNumber(7)
RECORDS = batch_of([Event(anonymous("d"), "View", n % 5, {"n": n}) for n in range(20)])


def arrivals(order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[Arrival]:
    """The pieces of a transfer whose records stand in an order at its source."""
    opened = OpenTransfer(NUMBER, Parcel(RECORDS.take(order), ((b"ad", b"uann"),)), (b"ad",))
    pieces = Pieces.of(opened.parcel)
    made = [pieces.arrival(SOURCE, opened, number) for number in range(len(pieces.starts))]
    assert sum(len(each.parcel.records) for each in made) == len(RECORDS)
    found = [decode_identity_change(encode_identity_change(each)) for each in made]
    assert all(isinstance(each, Arrival) for each in found)
    return [each for each in found if isinstance(each, Arrival)]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp_store.identity.pieces, "PARCEL_PIECE_BYTES", 500)


def test_pieces_of_another_order_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    partition, sequence = Partition(PartitionId(1), KEY, SMALL_LAYOUT), 0
    one, other = arrivals(np.arange(20)), arrivals(np.arange(20)[::-1])
    assert len(one) == len(other) > 2 and one[0].checksum != other[0].checksum

    def take(arrival: Arrival) -> bool:
        nonlocal sequence
        if not partition.identity.means_something(arrival):
            return False
        sequence += 1
        partition.change_identity(arrival, SequenceNumber(sequence))
        return True

    assert not take(one[1]), "the first comes first"
    assert take(one[0]) and not take(one[0]) and take(one[1])
    assert take(other[0]), "the source has started again"
    assert not take(one[2]) and not take(other[2]) and take(other[1])
    assert partition.status().events == partition.status().profiles == 0
    partition.load_identity(to_tables(partition.identity))
    assert [take(each) for each in other[2:]] == [True] * len(other[2:])
    assert not any(take(each) for each in (*one, *other)), "it has arrived"
    assert partition.status().events == len(RECORDS)
    assert not from_tables(to_tables(partition.identity), KEY).transfers.arriving
    view, row, origins = partition.locate_person(b"uann")
    assert row is not None and origins is not None
    partition.validate()


def test_a_small_parcel_is_one_piece_as_it_always_was() -> None:
    opened = OpenTransfer(NUMBER, Parcel(RECORDS.take(np.arange(2)), ()), ())
    [piece] = [Pieces.of(opened.parcel).arrival(SOURCE, opened, 0)]
    assert piece == Arrival(SOURCE, NUMBER, opened.parcel)
    assert b"checksum" not in encode_identity_change(piece)
    assert Pieces.of(Parcel(RECORDS.take(np.arange(0)), ())).starts == (0,)
