"""What a quarantine says that it takes is what it takes, also of very many entries of one record."""

from __future__ import annotations

import tracemalloc

from cdp_store.identity.identity_changes import Links
from cdp_store.ids import SequenceNumber
from cdp_store.partition.quarantine import (
    Quarantine,
    Quarantined,
    Released,
    decode_quarantine_change,
    encode_quarantine_change,
)
from tests.raw_records import Event, user
from tests.shards import batch_of

LINKS = Links.of([(b"ad", b"uann", 5, b"m")])


def _entry() -> Quarantined:
    return Quarantined.of(
        batch_of([Event(user("ann"), "Order", 5, {"sum": 1}, message_id="m")]), ["'sum' is required"], LINKS
    )


def test_entries_of_one_record_count_with_all_that_they_occupy() -> None:
    """They counted 114 bytes each and occupied 4,000: 64 MiB of them were more than 2 GB."""
    payload, count, held = encode_quarantine_change(_entry()), 200, Quarantine()
    decode_quarantine_change(payload)  # what is loaded once is no part of it
    tracemalloc.start()
    try:
        for number in range(count):
            entry = decode_quarantine_change(bytes(payload))
            held = held.changed(entry, SequenceNumber(number))
        occupied = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert occupied / 2 < held.nbytes < occupied * 2


def test_what_leaves_counts_no_more() -> None:
    held = Quarantine()
    for number in range(3):
        held = held.changed(_entry(), SequenceNumber(number))
    assert held.nbytes == 3 * _entry().nbytes
    held = held.changed(Released({SequenceNumber(1): (0,)}), SequenceNumber(9))
    assert held.nbytes == 2 * _entry().nbytes == Quarantine.from_table(held.to_table()).nbytes
    assert held.without([b"uann"]).nbytes == 0
