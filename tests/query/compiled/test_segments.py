"""Both evaluators against each other: kernels over all partitions at once, and Python part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled import segments
from cdp_query.errors import QueryCancelled
from cdp_query.evaluate.execute import Execution
from cdp_query.reports.segment_members import segment_members
from cdp_query.stats import Meter
from cdp_store.arrays import Bools
from cdp_store.memory.view import PartitionView
from tests import strategies
from tests.raw_records import Record
from tests.shards import Shards
from tests.states import every_state


def by_python(segment: tree.Node, view: PartitionView, context: tree.Context) -> Bools:
    """Members of one partition, without kernels for whole segments."""
    execution = Execution(view, context, Meter(), lambda: None)
    mask: Bools = segment_members(segment, execution, Binder(context)) & execution.population()
    return mask


def by_kernels(segment: tree.Node, views: Sequence[PartitionView], context: tree.Context) -> segments.Members:
    """Members of all partitions."""
    return segments.find_members(segment, views, Binder(context), lambda: None)


@given(
    strategies.records(),
    st.sampled_from((1, 3, 5)),
    st.lists(strategies.segments(), min_size=8, max_size=8),
    strategies.contexts(),
)
@settings(max_examples=40)
def test_kernels_and_python_find_the_same_members(
    records: list[Record], size: int, asked: list[tree.Node], context: tree.Context
) -> None:
    for state, shards in every_state(records, size):
        views = shards.capture()
        for segment in asked:
            found = by_kernels(segment, views, context)
            expected = [by_python(segment, view, context) for view in views]
            event(f"members: {any(mask.any() for mask in expected)}")
            for got, wanted, (_, count) in zip(found.masks, expected, found.counts, strict=True):
                assert np.array_equal(got, wanted), (state, segment)
                assert count == np.count_nonzero(wanted), (state, segment)


def test_a_caller_that_has_gone_stops_the_kernels() -> None:
    def gone() -> None:
        raise QueryCancelled("the caller went away")

    question = pipeline.segment_of(pipeline.read('count("Buy") >= 0', None))
    with pytest.raises(QueryCancelled):
        segments.find_members(question, Shards(2).capture(), Binder(tree.Context(0)), gone)
