"""Runs of a chunk that belong to the rows a question is still about."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U16, U32, Bools
from cdp_store.kernels.jit import kernel


@kernel
def asked_runs(run_rows: U16, run_offsets: I64, asked: Bools, kept: U32, kept_offsets: I64) -> int:
    """kept[:n] = runs whose row is asked for, kept_offsets[m + 1] = how many up to morsel m; returns n.

    Reads 2 bytes a run and the bools of a morsel, which stay in the nearest cache; writes without a branch.
    """
    found = np.uint64(0)
    for morsel in range(run_offsets.shape[0] - 1):
        window = asked[morsel << 16 :]
        for run in range(np.uint64(run_offsets[morsel]), np.uint64(run_offsets[morsel + 1])):
            kept[found] = run
            found += np.uint64(window[run_rows[run]])
        kept_offsets[morsel + 1] = found
    return int(found)
