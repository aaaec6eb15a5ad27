"""A device of one partition that belongs to a user of another, and what may happen to the two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cdp_store.identity.identity_changes import Departure, Links, Recall, Seating, TakenElsewhere
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.log.controls import Retention, Suppression
from cdp_store.partition.quarantine import Quarantined
from tests.identity_cluster import Partitions
from tests.raw_records import Change, Event, User, anonymous, user
from tests.shards import batch_of

DAY = 86_400_000
GIVER, TAKER = 0, 1


def _living(make: Callable[[str], User], home: int) -> User:
    """Somebody who lives in a partition."""
    return next(
        made for n in range(100) if Partitions(2).home(encode_identifier(*(made := make(f"{home}{n}")))) == home
    )


DEVICE, OWNER = _living(anonymous, GIVER), _living(user, TAKER)
GONE, STAYING = [[_living(lambda n, w=w: user(w + n), home) for home in (0, 1)] for w in ("gone", "staying")]


def first_records(home: int) -> list[Event | Change]:
    """What a partition begins with: a profile that will be erased, the device or its owner, and one that stays."""
    device = [Event(DEVICE, "View", 2, {"whose": "device"}), Change(DEVICE, 2, {"plan": "gold"})]
    owner = [Event(OWNER, "View", 3, {"whose": "owner"})]
    gone, staying = (Event(GONE[home], "View", 1), Event(STAYING[home], "View", 4 + 40 * DAY, {"whose": "staying"}))
    return [gone, *(device, owner)[home], staying]


LINK = Links.of([(encode_identifier(*DEVICE), encode_identifier(*OWNER), 5, b"link")])
LINKS = Links.of([(encode_identifier(*DEVICE), encode_identifier(*STAYING[1]), 1, b"earlier")])
SEATING = Seating(np.array([1], np.uint64), np.array([2], np.uint64), np.array([0], np.uint16), ("anonymous_id",))
TAKEN = TakenElsewhere(np.array([3], np.uint64), np.array([4], np.uint64), 5)
DEPARTURE = Departure(PartitionId(TAKER), ((encode_identifier(*DEVICE), encode_identifier(*OWNER)),))
RECALL = Recall(encode_identifier(*DEVICE), encode_identifier(*OWNER))
RECORDS = batch_of(
    [Event(STAYING[0], "Buy", 9, {"sum": 1.5}, "m1"), Change(GONE[0], 9, {"plan": "new"}, "m2")], b"batch"
)
QUARANTINED = Quarantined.of(RECORDS, ["why", "why"], Links.of([]))

SUPPRESSION = Suppression(1, (b"f" * 16,), ())
RETENTION = Retention({}, {"View": 30 * DAY})
