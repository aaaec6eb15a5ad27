"""Rates of the store's own work, at a size for tests; `make bench-shapes` runs the named sizes."""

from __future__ import annotations

from benchmarks.store_rates import (
    apply_rate,
    arena_nanoseconds,
    cold_cost,
    compaction_rate,
    distinct_strings,
    first_snapshot_rates,
    seal_rate,
    snapshot_rates,
)


def test_every_rate_is_measured() -> None:
    assert all(rate > 0 for rate in (apply_rate(2000), seal_rate(2000), compaction_rate(2000)))
    rate, size = cold_cost(500)
    assert rate > 0
    assert 16 < size < 100, "at least the message ids, which are 16 random bytes"
    written, loaded, size = snapshot_rates(2000)
    assert written > 0 and loaded > 0 and size > 4, "at least the times"
    assert all(rate > 0 for rate in first_snapshot_rates(2000, 1))
    add, find, size = arena_nanoseconds(5000)
    assert add > 0 and find > 0
    assert 10 <= size < 100


def test_strings_are_distinct() -> None:
    made = distinct_strings(12_345, 20_000)
    assert len({made[number] for number in range(len(made))}) == 20_000
