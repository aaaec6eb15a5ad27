"""Identifiers that the records of a batch give together: links for the partitions of these identifiers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_router.cluster.partitioning import partitions_of
from cdp_store.arrays import I64, U64, Bools
from cdp_store.columns.arena import HashKey, hash_strings
from cdp_store.identity.identity_changes import Links
from cdp_store.memory.digest import combine
from cdp_store.records.records import RecordBatch, Strings

_KEY: Final = (0, 0)  # hashes are compared within one batch only
NO_LINKS: Final = Links.of([])


def earliest(links: Links, key: HashKey) -> Links:
    """Each pair once, at the earliest of its times, and in order of these.

    Pairs are distinguished by keyed hashes of 64 bits.
    """
    pairs = combine(hash_strings(key, links.lower), hash_strings(key, links.upper))
    order = np.lexsort((links.times, pairs))
    is_first = np.append(True, pairs[order[1:]] != pairs[order[:-1]])[: order.shape[0]]
    first = order[is_first]
    return links.take(first[np.argsort(links.times[first], kind="stable")])


def ends(links: Links, key: HashKey) -> Links:
    """Each pair at the earliest and at the latest of its times, in order of these.

    Both ends are needed: a record accepted before may state the pair again together with a new record.
    """
    pairs = combine(hash_strings(key, links.lower), hash_strings(key, links.upper))
    order = np.lexsort((links.times, pairs))
    changes = pairs[order[1:]] != pairs[order[:-1]]
    is_end = np.append(True, changes)[: order.shape[0]] | np.append(changes, True)[-order.shape[0] :]
    chosen = order[is_end]
    return links.take(chosen[np.argsort(links.times[chosen], kind="stable")])


def without_records(links: Links, batch: RecordBatch, gone: Bools) -> Links:
    """Links of the records of a batch that are not gone; profile, time and message id identify a record."""
    if not len(links) or not gone.any():
        return links
    said, own = _of_records(batch), _sayings(links)
    return links.take(~np.isin(own, said[gone]) | np.isin(own, said[~gone]))


def with_pairs(links: Links, others: Links) -> Links:
    """The links of pairs that are among others."""
    return links.take(np.isin(_pairs(links), _pairs(others)))


def joined(parts: Iterable[Links]) -> Links:
    """Links of several parts together."""
    full = [part for part in parts if len(part)]
    if not full:
        return NO_LINKS
    return Links(
        Strings.joined([part.lower for part in full]),
        Strings.joined([part.upper for part in full]),
        np.concatenate([part.times for part in full]),
        Strings.joined([part.message_ids for part in full]),
    )


@dataclass(frozen=True, slots=True)
class LinkParts:
    """Links; by partition the numbers of those whose lower, or upper, identifiers live there, ascending."""

    links: Links
    at_lower: Mapping[int, I64]
    at_upper: Mapping[int, I64]


def parted(links: Links, key: HashKey, partition_count: int) -> LinkParts:
    """Links by the partitions that they concern."""
    if not len(links):
        return LinkParts(links, {}, {})
    homes = (partitions_of(side, key, partition_count) for side in (links.lower, links.upper))
    lower, upper = ({int(number): np.flatnonzero(home == number) for number in np.unique(home)} for home in homes)
    return LinkParts(links, lower, upper)


def records_saying(some: Links, said: Links, batch: RecordBatch) -> tuple[I64, I64]:
    """Records of a batch that state one of some pairs, and for each the number of the first such link in `said`."""
    if not len(some):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.flatnonzero(np.isin(_pairs(said), _pairs(some)))
    own, first = np.unique(_sayings(said)[at], return_index=True)
    records = _of_records(batch)
    places = np.minimum(np.searchsorted(own, records), own.shape[0] - 1)
    hits = np.flatnonzero(own[places] == records)
    return hits, at[first[places[hits]]]


def _of_records(batch: RecordBatch) -> U64:
    """Keys that identify the records of a batch as links do: hashes of profile, time and message id, u64[n]."""
    owners = _hashed(batch.identities)[batch.record_identities]
    return combine(owners, batch.record_times.view(np.uint64), _hashed(batch.message_ids))


def _sayings(links: Links) -> U64:
    """Keys of the records that stated some links, as those of `_of_records`."""
    return combine(_hashed(links.upper), links.times.view(np.uint64), _hashed(links.message_ids))


def _pairs(links: Links) -> U64:
    return combine(_hashed(links.lower), _hashed(links.upper))


def _hashed(table: Strings) -> U64:
    return hash_strings(_KEY, table)
