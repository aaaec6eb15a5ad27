"""Unusual shapes of data, at a size for tests; `make bench-shapes` runs the named sizes."""

from __future__ import annotations

from benchmarks.shapes import bytes_held, seconds_of_hot_user, three_years
from cdp_store.events.layout import LAYOUT, Layout

BUCKET_BY_BUCKET = Layout(0, 0)


def test_rare_names_cost_little_more_than_the_same_events_under_few() -> None:
    """As many events per name, partition and bucket as 5 M events under 512 names in 16 partitions have."""
    few = bytes_held(three_years(30_000, 2, 1), 1)
    many = {layout: bytes_held(three_years(30_000, 50, 1), 1, layout) for layout in (LAYOUT, BUCKET_BY_BUCKET)}
    assert many[LAYOUT] < 1.5 * few < many[BUCKET_BY_BUCKET]


def test_one_user_with_many_events_is_taken_and_merged() -> None:
    assert all(seconds >= 0 for seconds in seconds_of_hot_user(300_000))
