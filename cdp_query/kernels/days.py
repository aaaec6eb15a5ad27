"""Different local dates per user: events come in time order inside each row, so that a new day is a change."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I32, I64, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel

_DAY_MS = 86_400_000


@kernel
def count_days_of_runs(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    base: int,
    mask: Bools,
    starts: I64,
    first_day: int,
    last_day: I32,
    days: U32,
) -> None:
    """days[row] += 1 per event with mask on another day than last_day[row], which becomes that day.

    Day first_day + d lasts from starts[d] to starts[d + 1] (epoch ms). Reads 5 bytes an event and 6 a run. Only an
    event after the end of the last day looks for its own; a guess by division is a clock change away at most.
    """
    origin = starts[0] - base
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            row = first + run_rows[run]
            # Looked for anew in each run; that its first day was counted in an earlier chunk is what last_day[row]
            # tells.
            ends = np.int64(-1)
            for i in range(run_starts[run], run_starts[run + 1]):
                at = np.int64(times[i]) - origin
                if mask[i] and at >= ends:
                    day = max(min(at // _DAY_MS, starts.shape[0] - 2), 0)
                    while at < starts[day] - starts[0]:
                        day -= 1
                    while at >= starts[day + 1] - starts[0]:
                        day += 1
                    ends = starts[day + 1] - starts[0]
                    if last_day[row] != first_day + day:
                        last_day[row] = first_day + day
                        days[row] += np.uint32(1)


@kernel
def longest_streaks(rows: U32, event_days: I64, last_day: I32, running: U32, longest: U32) -> None:
    """longest[row] = most consecutive days with events; running[row] those up to last_day[row]. 12 bytes an event."""
    for i in range(rows.shape[0]):
        row, day = rows[i], event_days[i]
        if day == last_day[row] and running[row] > 0:
            continue
        if day == last_day[row] + 1:
            running[row] += np.uint32(1)
        else:
            running[row] = np.uint32(1)
        last_day[row] = day
        if running[row] > longest[row]:
            longest[row] = running[row]


@kernel
def count_days(rows: U32, event_days: I64, last_day: I32, days: U32) -> None:
    """The same for events of any rows whose days are known; reads 12 bytes an event."""
    for i in range(rows.shape[0]):
        if last_day[rows[i]] != event_days[i]:
            last_day[rows[i]] = event_days[i]
            days[rows[i]] += np.uint32(1)
