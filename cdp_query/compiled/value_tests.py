"""Tests of values as rows of a table: the ranges of a matcher once per question, codes of texts once per partition."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from cdp_query.compiled.descriptors import ColumnTable, address_of, has_texts
from cdp_query.compiled.kernels.layout import (
    KINDS,
    MODE_EVERYTHING,
    MODE_OTHER_TYPE,
    MODE_RANGES,
    MODE_TABLE,
    SUM_SCALE,
)
from cdp_query.matching.decided import decisions
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I64, AnyArray
from cdp_store.memory.view import PartitionView
from cdp_store.values import TEXT_KINDS, Kind

_NO_SLOT: Final = (MODE_OTHER_TYPE, 0, 0, 0)


def is_testable(matcher: Matcher) -> bool:
    """True if kernels can test values against a matcher; instants are decided by Python."""
    return matcher.instants is None


@dataclass(frozen=True, slots=True)
class ValueTest:
    """A matcher for kernels; `slots` are those of the kinds that all partitions share, `kept` the arrays they name."""

    matcher: Matcher
    slots: tuple[tuple[int, int, int, int], ...]
    kept: tuple[AnyArray, ...]


def value_test(matcher: Matcher) -> ValueTest:
    """The part of a test that does not depend on a partition."""
    slots, kept = [_NO_SLOT] * KINDS, list[AnyArray]()
    if matcher.everything:
        return ValueTest(matcher, (_NO_SLOT, *[(MODE_EVERYTHING, 0, 0, 0)] * (KINDS - 1)), ())

    def ranges(pairs: list[tuple[int, int]]) -> tuple[int, int, int, int]:
        inside = [(max(low, INT_MIN), min(high, INT_MAX)) for low, high in pairs if low <= INT_MAX and high >= INT_MIN]
        bounds: I64 = np.array(inside, np.int64).reshape(-1)
        kept.append(bounds)
        return MODE_RANGES, address_of(bounds), len(inside), 0

    if matcher.numbers:
        slots[Kind.INT] = ranges([wanted.integers() for wanted in matcher.numbers])
        floats: F64 = np.array([wanted.floats() for wanted in matcher.numbers], np.float64).reshape(-1)
        scales = range(SUM_SCALE + 1)
        decimals: I64 = np.array(
            [[wanted.mantissas(scale) for wanted in matcher.numbers] for scale in scales], np.int64
        )
        kept += [floats, decimals]
        slots[Kind.FLOAT] = MODE_RANGES, address_of(floats), len(matcher.numbers), address_of(decimals)
    if matcher.times:
        slots[Kind.TIME] = ranges([(span.first_ms, span.last_ms) for span in matcher.times])
    if matcher.flags:
        slots[Kind.BOOL] = ranges([(int(flag), int(flag)) for flag in matcher.flags])
    return ValueTest(matcher, tuple(slots), tuple(kept))


def test_row(
    test: ValueTest,
    key: int | None,
    columns: ColumnTable | None,
    older: ColumnTable | None,
    view: PartitionView,
    stats: NodeStats,
    kept: list[object],
    *,
    attribute: bool,
) -> tuple[int, ...]:
    """The row of a test in one partition; what it names is kept in `kept`, what deciding it read counts in `stats`.

    `older` are columns of values that an attribute had before.
    """
    offsets, address = (0, 0) if columns is None else columns.addresses
    kept.append(columns)
    slots = list(test.slots)
    if key is not None and (test.matcher.text is not None or test.matcher.lists is not None):
        decide = decisions(view, key, test.matcher, {}, stats, attribute=attribute)
        kinds = frozenset[int]().union(*(table.kinds for table in (columns, older) if table is not None))
        for kind in TEXT_KINDS:
            if test.matcher.decides(kind) and has_texts(kinds, view, kind, unsealed=not attribute):
                decided = decide(kind)
                if decided.table is not None:
                    kept.append(decided.table)
                    slots[kind] = MODE_TABLE, address_of(decided.table), decided.table.shape[0], 0
                else:
                    codes: I64 = np.repeat(np.array(decided.few, np.int64), 2)
                    kept.append(codes)
                    slots[kind] = MODE_RANGES, address_of(codes), len(decided.few), 0
    head = (int(test.matcher.negated), -1 if key is None else key, offsets, address)
    return (*head, *chain.from_iterable(slots))
