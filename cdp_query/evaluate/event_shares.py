"""Frequencies of a property's values: the most frequent values of a user, and shares."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np

from cdp_query.bind.bind_event_tests import BoundMostly, BoundShare
from cdp_query.kernels import aggregate
from cdp_query.matching.decided import decisions
from cdp_query.matching.masks import Codes, column_mask
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.scan.property_values import property_columns, sorted_values
from cdp_query.scan.terms import Terms
from cdp_query.stats import NodeStats
from cdp_query.tree import Op
from cdp_store.arrays import I64, U32, Bools
from cdp_store.memory.view import PartitionView


def mostly_mask(view: PartitionView, node: BoundMostly, stats: NodeStats) -> Bools:
    """Rows with a most frequent value that satisfies the matcher."""
    most: I64 = np.zeros(view.row_count, np.int64)
    runs = list[tuple[U32, I64, Bools]]()
    codes = decisions(view, node.property, node.matcher, {}, stats)
    columns = list(property_columns(view, node.events, node.interval, node.property, stats))
    for alike, values in sorted_values(columns):
        starts = values.starts()
        rows, counts = values.rows[starts], np.diff(np.append(starts, values.rows.shape[0]))
        held = np.concatenate([_held(part, node.matcher, codes, stats) for part in alike])
        np.maximum.at(most, rows, counts)
        runs.append((rows, counts, held[values.order[starts]]))
    mask: Bools = np.zeros(view.row_count, np.bool_)
    for rows, counts, held in runs:
        mask[rows[held & (counts == most[rows])]] = True
    return mask


def share_mask(view: PartitionView, node: BoundShare, stats: NodeStats) -> Bools:
    """Rows whose exact share compares with the wanted one; rows without any value never do."""
    satisfied: U32 = np.zeros(view.row_count, np.uint32)
    valued: U32 = np.zeros(view.row_count, np.uint32)
    codes = decisions(view, node.property, node.matcher, {}, stats)
    for part in property_columns(view, node.events, node.interval, node.property, stats):
        rows = part.rows()
        aggregate.count_rows(rows, valued)
        aggregate.count_rows(rows[_held(part, node.matcher, codes, stats)], satisfied)
    inside = _share_inside(satisfied, valued, node.op, node.share)
    return (valued > 0) & (~inside if node.op is Op.NE else inside)


def _held(part: Terms, matcher: Matcher, codes: Codes, stats: NodeStats) -> Bools:
    """Mask of the values that satisfy the condition, complement included: bool[len(part)]."""
    if matcher.decides(part.column.kind):
        chosen, held = part.scanned.events(), column_mask(part.column, matcher, codes)
        held = held if chosen is None else held[chosen]
    else:
        stats.type_mismatch += len(part)
        held = np.zeros(len(part), np.bool_)
    return ~held if matcher.negated else held


def _share_inside(satisfied: U32, valued: U32, op: Op, share: Fraction) -> Bools:
    """Mask of the rows where satisfied / valued op share, in integers: one bound per distinct number of values."""
    different, which = np.unique(valued, return_inverse=True)
    bounds = [_whole(op, share * int(count)) for count in different]
    low, high = (np.array([min(max(bound[end], INT_MIN), INT_MAX) for bound in bounds], np.int64) for end in (0, 1))
    return (satisfied >= low[which]) & (satisfied <= high[which])


def _whole(op: Op, value: Fraction) -> tuple[int, int]:
    """The whole numbers n with n op value, as a closed interval; for NE those of EQ."""
    match op:
        case Op.GE:
            return ceil(value), INT_MAX
        case Op.GT:
            return floor(value) + 1, INT_MAX
        case Op.LE:
            return INT_MIN, floor(value)
        case Op.LT:
            return INT_MIN, ceil(value) - 1
    return ceil(value), floor(value)
