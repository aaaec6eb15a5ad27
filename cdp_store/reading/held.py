"""Counts of what a partition holds of some people, for the receipt of an erasure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdp_store.identity.pages import count_records
from cdp_store.partition.partition import Partition


@dataclass(frozen=True, slots=True)
class Held:
    """Profiles with their events and values of attributes; identifiers that are known, as profiles' or by links, and
    the number of their pairs."""

    profiles: int
    identifiers: int
    events: int
    changes: int
    bindings: int


def held_of(partition: Partition, identifiers: Sequence[bytes]) -> Held:
    """Counts of what a partition holds under identifiers; called between commits."""
    view, found = partition.locate(identifiers)
    names, claims = partition.identity.names, partition.identity.claims
    known = {each for each, row in zip(identifiers, found, strict=True) if row is not None}
    linked = {each for each in identifiers if names.entry(each) is not None}
    linked |= {each for each in identifiers if partition.quarantine.names(each)}
    pairs = {(claim.lower, claim.upper) for each in linked for claim in claims.about(each)}
    counts = [count_records(view, row) for row in found if row is not None]
    events, changes = (sum(count[side] for count in counts) for side in range(2))
    return Held(len(known), len(known | linked), events, changes, len(pairs))
