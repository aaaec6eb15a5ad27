"""Which identifiers the records of a batch give together: the claims that go to the partitions they live in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from cdp_router.blocking import Blocked
from cdp_router.partitioning import partitions_of
from cdp_store.arena import HashKey, hash_strings
from cdp_store.arrays import U64, Bools
from cdp_store.digest import combine
from cdp_store.identity.changes import Links, encode_identity_change
from cdp_store.records import RecordBatch, Strings

_KEY: Final = (0, 0)  # hashes only tell what one batch says apart
NO_LINKS: Final = Links.of([])


def any_blocked(identities: Strings, blocked: Blocked) -> bool:
    """Whether any of some encoded identifiers has a value that names nobody."""
    listed = np.array(sorted({len(value.encode()) for value in blocked.values}), np.int64)
    starts = identities.offsets[:-1].astype(np.int64) + 1
    sizes = np.diff(identities.offsets).astype(np.int64) - 1
    first = identities.data[np.minimum(starts, max(identities.data.shape[0] - 1, 0))] if len(identities) else starts
    suspect: Bools = np.isin(sizes, listed) | (first == ord("0")) | (first == ord("-")) | (sizes == 0)
    return any(blocked(identities[int(at)][1:].decode()) for at in np.flatnonzero(suspect))


def earliest(links: Links, key: HashKey) -> Links:
    """Each pair once, with the earliest of its times; pairs are told apart by keyed hashes of 64 bits."""
    pairs = combine(hash_strings(key, links.lower), hash_strings(key, links.upper))
    order = np.lexsort((links.times, pairs))
    is_first = np.append(True, pairs[order[1:]] != pairs[order[:-1]])[: order.shape[0]]
    return links.take(order[is_first])


def without_records(links: Links, batch: RecordBatch, gone: Bools) -> Links:
    """The links that records of a batch say which are not gone: told apart by profile, time and message id."""
    if not len(links) or not gone.any():
        return links
    owners, ids = _hashed(batch.identities)[batch.record_identities], _hashed(batch.message_ids)
    said = combine(owners, batch.record_times.view(np.uint64), ids)
    own = combine(_hashed(links.upper), links.times.view(np.uint64), _hashed(links.message_ids))
    return links.take(~np.isin(own, said[gone]) | np.isin(own, said[~gone]))


def _hashed(table: Strings) -> U64:
    return hash_strings(_KEY, table)


def joined(parts: Iterable[Links]) -> Links:
    """Links of several parts together."""
    whole = NO_LINKS
    for part in parts:
        if len(part):
            whole = Links(
                whole.lower.join(part.lower),
                whole.upper.join(part.upper),
                np.concatenate((whole.times, part.times)),
                whole.message_ids.join(part.message_ids),
            )
    return whole


def split_links(links: Links, key: HashKey, partition_count: int) -> Mapping[int, bytes]:
    """The links as payloads of log records, by the partition where the lower identifiers live."""
    if not len(links):
        return {}
    pairs = earliest(links, key)
    homes = partitions_of(pairs.lower, key, partition_count)
    return {
        int(number): encode_identity_change(pairs.take(np.flatnonzero(homes == number))) for number in np.unique(homes)
    }
