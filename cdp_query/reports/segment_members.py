"""The members of a segment in one partition."""

from __future__ import annotations

from collections.abc import Iterator

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.evaluate.execute import Execution
from cdp_query.evaluate.needs import check_needs
from cdp_query.evaluate.plan import plan
from cdp_store.arrays import Bools


def segment_members(
    segment: tree.Node, execution: Execution, binder: Binder, numbers: Iterator[int] | None = None
) -> Bools:
    """Mask of the members; its nodes get numbers as given, or from 0."""
    planned = plan(binder.bind(segment, execution.view.schema, numbers), execution.view)
    check_needs(planned, execution.view)
    return execution.members(planned)
