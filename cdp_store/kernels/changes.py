"""Applying attribute changes and creation times to one morsel's arrays."""

from __future__ import annotations

from cdp_store.arrays import I32, I64, U16, AnyArray, Bools
from cdp_store.jit import kernel


@kernel
def accept_latest(rows: U16, times: I64, changed_ms: I64, last: I32, winners: Bools) -> None:
    """winners[i] = change i stands at the end: its time is the row's latest, ties to the later arrival.

    changed_ms (by row) is raised to the winning times; `last` is a scratch by row, contents free.
    """
    for i in range(rows.shape[0]):
        row = rows[i]
        winners[i] = times[i] >= changed_ms[row]
        if winners[i]:
            changed_ms[row] = times[i]
            last[row] = i
    for i in range(rows.shape[0]):
        if winners[i] and last[rows[i]] != i:
            winners[i] = False


@kernel
def lower_to(rows: U16, times: I64, values: I64) -> None:
    """values[rows[i]] = min(values[rows[i]], times[i])."""
    for i in range(rows.shape[0]):
        if times[i] < values[rows[i]]:
            values[rows[i]] = times[i]


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
