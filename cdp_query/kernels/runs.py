"""Runs of a chunk (the events of one row) counted, marked and looked up; most never look at a single event."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def count_runs(run_rows: U16, run_starts: U32, run_offsets: I64, counts: U32) -> None:
    """counts[row] += length of its run; reads 6 bytes a run, accumulates in a window of 256 KB per morsel.

    Here and below runs are numbered without sign, since Numba asks of each signed index whether it counts from the
    end; that alone halves the speed.
    """
    for morsel in range(run_offsets.shape[0] - 1):
        window = counts[morsel << 16 :]
        first, last = np.uint64(run_offsets[morsel]), np.uint64(run_offsets[morsel + 1])
        start = run_starts[first]
        for run in range(first, last):
            stop = run_starts[run + np.uint64(1)]
            window[run_rows[run]] += np.uint32(stop - start)
            # The end of a run is the start of the next one: each is read once.
            start = stop


@kernel
def count_runs_between(
    run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray, low: int, high: int, counts: U32
) -> None:
    """counts[row] += events of its run with low <= time <= high; a run is in time order, so its ends often decide.

    Reads 6 bytes a run, the first and last time of each, and the others only of runs that cross a bound.
    """
    for morsel in range(run_offsets.shape[0] - 1):
        window = counts[morsel << 16 :]
        for run in range(np.uint64(run_offsets[morsel]), np.uint64(run_offsets[morsel + 1])):
            start, stop = np.uint64(run_starts[run]), np.uint64(run_starts[run + np.uint64(1)])
            while start < stop and times[start] < low:
                start += np.uint64(1)
            while start < stop and times[stop - np.uint64(1)] > high:
                stop -= np.uint64(1)
            window[run_rows[run]] += np.uint32(stop - start)


@kernel
def mark_runs(run_rows: U16, run_offsets: I64, seen: Bools) -> None:
    """seen[row] = True for each run; reads 2 bytes a run."""
    for morsel in range(run_offsets.shape[0] - 1):
        window = seen[morsel << 16 :]
        for run in range(np.uint64(run_offsets[morsel]), np.uint64(run_offsets[morsel + 1])):
            window[run_rows[run]] = True


@kernel
def mark_runs_between(
    run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray, low: int, high: int, seen: Bools
) -> None:
    """seen[row] = True where its run has an event with low <= time <= high."""
    for morsel in range(run_offsets.shape[0] - 1):
        window = seen[morsel << 16 :]
        for run in range(np.uint64(run_offsets[morsel]), np.uint64(run_offsets[morsel + 1])):
            start, stop = np.uint64(run_starts[run]), np.uint64(run_starts[run + np.uint64(1)])
            while start < stop and times[start] < low:
                start += np.uint64(1)
            if start < stop and times[start] <= high:
                window[run_rows[run]] = True


@kernel
def rows_of_events(run_rows: U16, run_starts: U32, run_offsets: I64, events: I64, rows: U32) -> None:
    """rows[i] = row of event events[i]; events ascending. One pass over the runs: 6 bytes a run, 12 an event asked."""
    at = 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        run, last = run_offsets[morsel], run_offsets[morsel + 1]
        if run == last:
            continue
        stop = run_starts[last]
        while at < events.shape[0] and events[at] < stop:
            # Both ascend, so that the search never goes back.
            while run_starts[run + 1] <= events[at]:
                run += 1
            rows[at] = first + run_rows[run]
            at += 1
