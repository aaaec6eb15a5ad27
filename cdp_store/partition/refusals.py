"""Refusals of records for reasons outside the records themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64, Bools
from cdp_store.identity.state import IdentityState
from cdp_store.memory.name_limits import Rejection
from cdp_store.partition.operations import records_elsewhere
from cdp_store.partition.suppressions import Suppressions
from cdp_store.records.records import RecordBatch

_SUPPRESSED: Final = "the person was erased, and nothing more is to be taken; `cdp suppressions lift` changes that"
OPERATION_ELSEWHERE: Final = "OPERATION_ON_LINKED_IDENTIFIER"
_ELSEWHERE: Final = (
    "the values are those of another identifier, and without a message id it cannot be done there once: give it one"
)


@dataclass(frozen=True, slots=True)
class Admission:
    """Part of a batch that may be logged, and the records that had been taken before."""

    batch: RecordBatch
    known: I64
    rejections: tuple[Rejection, ...]

    @property
    def duplicates(self) -> int:
        """Number of records that had been taken before."""
        return int(self.known.shape[0])


def elsewhere(batch: RecordBatch, kept: Bools, identity: IdentityState) -> list[Rejection]:
    """Rejections of the kept operations whose values are not here; `kept` loses them."""
    # `kept` is changed in place: reasons are tried one after the other, and a record gets the first that applies.
    refused = records_elsewhere(batch, kept, identity)
    kept[refused] = False
    return [Rejection(record, OPERATION_ELSEWHERE, _ELSEWHERE) for record in refused]


def suppressed(batch: RecordBatch, kept: Bools, suppressions: Suppressions) -> list[Rejection]:
    """Rejections of the kept records that came under suppressed identifiers; `kept` loses them."""
    if not len(suppressions):
        return []
    refused = np.flatnonzero(kept & suppressions.among(batch.identities)[batch.record_identities])
    kept[refused] = False
    return [Rejection(record, "IDENTIFIER_SUPPRESSED", _SUPPRESSED) for record in refused.tolist()]
