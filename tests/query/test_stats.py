"""Counters of an evaluation."""

from __future__ import annotations

from dataclasses import astuple, fields

from cdp_query.stats import NodeStats


def test_adding_adds_every_counter() -> None:
    numbers = range(1, len(fields(NodeStats)) + 1)
    stats = NodeStats(*numbers)
    stats.add(NodeStats(*(10 * number for number in numbers)))
    assert astuple(stats) == tuple(11 * number for number in numbers)
