"""Names of a batch that its records mention."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U16, U32, Bools
from cdp_store.kernels.jit import kernel
from cdp_store.limits import NAMES_PER_BATCH_MAX

_ATTRIBUTES = NAMES_PER_BATCH_MAX


@kernel
def mark_mentioned(
    names: U16, property_offsets: U32, keys: U16, chosen: Bools, of_events: Bools, properties: Bools, attributes: Bools
) -> None:
    """Mark event names, property keys and attribute keys of the chosen records; reads 2 bytes a record and triple."""
    for record in range(names.shape[0]):
        if not chosen[record]:
            continue
        first, last = np.int64(property_offsets[record]), np.int64(property_offsets[record + 1])
        if names[record] == _ATTRIBUTES:
            for triple in range(first, last):
                attributes[keys[triple]] = True
        else:
            of_events[names[record]] = True
            for triple in range(first, last):
                properties[keys[triple]] = True
