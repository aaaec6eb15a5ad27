"""Reading the history of attributes."""

from __future__ import annotations

from cdp_store.arrays import I32, I64, U16, AnyArray
from cdp_store.jit import kernel


@kernel
def latest_change_by_row(
    rows: U16,
    offsets: I64,
    times: AnyArray,
    base: int,
    until: int,
    chunk: int,
    best_ms: I64,
    best_chunk: I32,
    best_index: I64,
) -> None:
    """Raise best_* (by row of the partition) to the last change at or before `until`; equal times: the later one.

    Call for chunks in order of arrival. Reads rows and times once: 6 bytes an event.
    """
    for morsel in range(offsets.shape[0] - 1):
        first_row = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            at = base + times[i]
            row = first_row + rows[i]
            if at <= until and at >= best_ms[row]:
                best_ms[row] = at
                best_chunk[row] = chunk
                best_index[row] = i
