"""Which identifiers the records of a batch give together: the claims that go to the partitions they live in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from cdp_router.partitioning import partitions_of
from cdp_store.arena import HashKey, hash_strings
from cdp_store.arrays import Bools
from cdp_store.digest import combine
from cdp_store.identity.changes import Links, encode_identity_change
from cdp_store.records import Strings

# Values that programs send for want of an identifier: they name nobody.
BLOCKED_DEFAULT: Final = ("null", "nil", "none", "undefined", "nan", "anonymous", "guest", "unknown", "-1")
_ZEROS: Final = re.compile(r"[0-]*")

NO_LINKS: Final = Links.of([])


class Blocked:
    """The values that are no identifiers: empty ones, zeros and dashes, and a list without regard to case."""

    def __init__(self, values: Iterable[str] = BLOCKED_DEFAULT) -> None:
        self._values = frozenset(value.strip().lower() for value in values)
        self._sizes = np.array(sorted({len(value.encode()) for value in self._values}), np.int64)

    def __call__(self, value: str) -> bool:
        """Whether a value names nobody."""
        return _ZEROS.fullmatch(value) is not None or value.lower() in self._values

    @property
    def values(self) -> list[str]:
        """The listed ones, in lower case."""
        return sorted(self._values)

    def any_of(self, identities: Strings) -> bool:
        """Whether any of some encoded identifiers has such a value."""
        starts = identities.offsets[:-1].astype(np.int64) + 1
        sizes = np.diff(identities.offsets).astype(np.int64) - 1
        first = identities.data[np.minimum(starts, max(identities.data.shape[0] - 1, 0))] if len(identities) else starts
        suspect: Bools = np.isin(sizes, self._sizes) | (first == ord("0")) | (first == ord("-")) | (sizes == 0)
        return any(self(identities[int(at)][1:].decode()) for at in np.flatnonzero(suspect))


def earliest(links: Links, key: HashKey) -> Links:
    """Each pair once, with the earliest of its times; pairs are told apart by keyed hashes of 64 bits."""
    pairs = combine(hash_strings(key, links.lower), hash_strings(key, links.upper))
    order = np.lexsort((links.times, pairs))
    is_first = np.append(True, pairs[order[1:]] != pairs[order[:-1]])[: order.shape[0]]
    return links.take(order[is_first])


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
