"""Events that a partition holds already, told by all that they say: for those without a message id."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import Bools
from cdp_store.identity.contents import contents_of, record_hashes
from cdp_store.partition import Partition
from cdp_store.records import RecordBatch


def taken_before(partition: Partition, batch: RecordBatch) -> Bools:
    """Which events of a batch stand in their profiles already, with the same time and values: bool[n]."""
    hashes, events = record_hashes(batch), ~batch.is_attributes()
    taken: Bools = np.zeros(len(batch), np.bool_)
    view, rows = partition.locate([batch.identities[at] for at in range(len(batch.identities))])
    for number, row in enumerate(rows):
        if row is not None:
            held = contents_of(view, [row])
            own = events & (batch.record_identities == number)
            taken |= own & np.isin(hashes, record_hashes(held)[~held.is_attributes()])
    return taken
