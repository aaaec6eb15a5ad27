"""Events that a partition holds already, recognised by their whole content: for events without a message id."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_store.arrays import U64, Bools
from cdp_store.columns.arena import hash_strings
from cdp_store.memory.contents import contents_of, record_hashes
from cdp_store.memory.digest import combine
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch

_KEY: Final = (0, 0)  # the hashes only distinguish the records of one call
_PROFILES_AT_ONCE: Final = 256  # reading one visits all chunks, and all at once may need very much memory


def taken_before(partition: Partition, batch: RecordBatch) -> Bools:
    """Mask of the events that are in their profiles already, with the same time and values: bool[n]."""
    said = _said(batch)
    taken: Bools = np.zeros(len(batch), np.bool_)
    view, found = partition.locate([batch.identities[at] for at in range(len(batch.identities))])
    rows = sorted({row for row in found if row is not None})
    for start in range(0, len(rows), _PROFILES_AT_ONCE):
        held = contents_of(view, rows[start : start + _PROFILES_AT_ONCE])
        taken |= np.isin(said, _said(held)[~held.is_attributes()])
    return taken & ~batch.is_attributes()


def _said(batch: RecordBatch) -> U64:
    """Hash of the content of each record and of its owner: u64[n]."""
    return combine(hash_strings(_KEY, batch.identities)[batch.record_identities], record_hashes(batch))
