"""First and last times, and presence, per user."""

from __future__ import annotations

from cdp_store.arrays import I64, U16, AnyArray, Bools
from cdp_store.jit import kernel


@kernel
def mark_by_row(rows: U16, offsets: I64, mask: Bools, seen: Bools) -> None:
    """seen[row] |= mask per event; reads 3 bytes an event."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            seen[first + rows[i]] |= mask[i]


@kernel
def first_time_by_row(rows: U16, offsets: I64, times: AnyArray, base: int, mask: Bools, best: I64) -> None:
    """best[row] = min(best[row], base + time) per event with mask; reads 7 bytes an event."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i]:
                at = base + times[i]
                if at < best[first + rows[i]]:
                    best[first + rows[i]] = at


@kernel
def last_time_by_row(rows: U16, offsets: I64, times: AnyArray, base: int, mask: Bools, best: I64) -> None:
    """best[row] = max(best[row], base + time) per event with mask; reads 7 bytes an event."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i]:
                at = base + times[i]
                if at > best[first + rows[i]]:
                    best[first + rows[i]] = at
