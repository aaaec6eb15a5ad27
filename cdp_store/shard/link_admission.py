"""Admission of links: which are new, which have a seat, and which name an identifier that was erased meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, Bools
from cdp_store.identity.identity_changes import Links, Seating
from cdp_store.identity.seats import Wanted
from cdp_store.partition.partition import Partition
from cdp_store.records.records import Strings


@dataclass(frozen=True, slots=True)
class CheckedAt:
    """Positions of a partition, one per link to be logged: i64[n] each.

    asked: the partition's position when it was asked about the link. seated: its position before the seat was last
    found in place; 0 if nothing has checked the seat.
    """

    asked: I64
    seated: I64


def new_links(partition: Partition, links: Links) -> Bools:
    """Mask of the links that are new and name no suppressed identifier: bool[n]."""
    suppressed = partition.suppressions.among(links.lower) | partition.suppressions.among(links.upper)
    return partition.identity.claims.news(links) & ~suppressed


def fresh_links(partition: Partition, links: Links) -> Links:
    """The links that are new and name no suppressed identifier."""
    return links.take(new_links(partition, links))


def forgotten(partition: Partition, identifiers: Strings) -> Bools:
    """Mask of identifiers that were erased: bool[n]; an erasure is remembered for longer than the ids it covers."""
    return erased_at(partition, identifiers) >= 0


def erased_at(partition: Partition, identifiers: Strings) -> I64:
    """Position of the last erasure of each identifier: i64[n]; 0 where it is no longer known, -1 for none."""
    marks = partition.message_ids.marks(identifiers)
    return np.maximum(partition.batch_ids.erased_at(marks), partition.message_ids.seen(*marks).astype(np.int64) - 1)


def outdated(partition: Partition, links: Links, known: CheckedAt) -> tuple[Bools, Bools]:
    """Masks of links that must not be logged: the void ones, and those whose seat must be checked first: bool[n].

    A link is void if its lower identifier was erased after the partition was asked about it. The upper identifier's
    home is another partition, which logged the record. An erasure of it is logged here because its seat showed that a
    link was on its way. That may have happened before this partition was asked. So only a check of the seat after this
    erasure proves that the record remains. The same holds if the lower identifier was erased before the question: its
    record may be older than that erasure.
    """
    lower = erased_at(partition, links.lower)
    void: Bools = lower > known.asked
    last = np.maximum(lower, erased_at(partition, links.upper))
    doubted: Bools = (last >= 0) & ((known.seated == 0) | (last > known.seated)) & ~void
    return void, doubted


@dataclass(frozen=True, slots=True)
class Seated:
    """Masks of links, bool[n] each, and the seats that the others take.

    refused: without a seat; void: see Outcome; unseated: stated by a repeat without a seat, and may have one.
    """

    refused: Bools
    void: Bools
    unseated: Bools
    taken: Seating


def seat(partition: Partition, wanted: Wanted, before: Sequence[Seating], repeats: Bools) -> Seated:
    """Masks of the links without a seat, and the seats to take, alongside those about to be taken.

    A repeat without a seat has one of three causes: one of its identifiers was erased since, which makes it void; there
    was no free seat; or it is older than seats. It takes no seat here: the lower identifier's partition may know of an
    erasure. A seat that exists may belong to a person who came back. So a link is also void if its upper identifier was
    erased after its record was looked at.
    """
    seats, suppressions, links = partition.identity.seats, partition.suppressions, wanted.links
    seating = seats.seating_of(links)
    late = repeats & ~seats.hold(seating, before)
    granted: Bools = np.ones(len(seating), np.bool_)
    # In two steps: a repeat takes no seat here, so it must not count among those that fill the last seats.
    for chosen in (np.flatnonzero(~late), np.flatnonzero(late)):
        granted[chosen] = seats.granted(seating.take(chosen), wanted.limits, before)
    void: Bools = np.zeros(len(seating), np.bool_)
    at = np.flatnonzero(late)
    if at.size:
        repeated = links.take(at)
        void[at] = forgotten(partition, repeated.lower) | forgotten(partition, repeated.upper)
    if wanted.asked_at is not None:
        void |= (wanted.asked_at > 0) & (erased_at(partition, links.upper) > wanted.asked_at)
    suppressed = suppressions.among(links.lower) | suppressions.among(links.upper)
    # A seat that others of the group take too is in the log twice, which has no effect.
    taken = seats.news(seating.take(np.flatnonzero(granted & ~suppressed & ~late & ~void)))
    return Seated(~granted & ~void, void, late & granted & ~void, taken)
