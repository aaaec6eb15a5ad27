"""Tests of values as rows of a table: the ranges of a matcher once per question, codes of texts once per partition."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.compiled.descriptors import ColumnTable, address_of, has_texts
from cdp_query.compiled.kernels.layout import (
    KINDS,
    MODE_CODES,
    MODE_EVERYTHING,
    MODE_OTHER_TYPE,
    MODE_RANGES,
    MODE_TABLE,
    SUM_SCALE,
)
from cdp_query.matching.decided import decide_all
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I64, AnyArray
from cdp_store.columns.dictionary import scope_of
from cdp_store.memory.view import PartitionView
from cdp_store.values import TEXT_KINDS, Kind

_FOUR: Final = struct.Struct("=4q")  # the head of a row, and each slot
_TEST: Final = "value test"
_FEW: Final = 2  # codes that a slot holds itself
_NO_SLOT: Final = _FOUR.pack(MODE_OTHER_TYPE, 0, 0, 0)


def is_testable(matcher: Matcher) -> bool:
    """True if kernels can test values against a matcher; instants are decided by Python."""
    return matcher.instants is None


@dataclass(frozen=True, slots=True)
class ValueTest:
    """A matcher for kernels; `slots` are those of the kinds that all partitions share, `kept` the arrays they name.

    `texts` are the kinds whose values each partition decides by code, in the order of their numbers. `joined` are all
    slots; `literals` are those of the matcher as they are stored.
    """

    matcher: Matcher
    slots: tuple[bytes, ...]
    kept: tuple[AnyArray, ...]
    texts: tuple[Kind, ...]
    joined: bytes
    literals: tuple[bytes, ...] | None

    @classmethod
    def of(cls, matcher: Matcher, slots: Sequence[bytes], kept: Sequence[AnyArray], texts: Sequence[Kind]) -> ValueTest:
        """The test with these slots."""
        literals = None if matcher.literals is None else tuple(literal.encode() for literal in matcher.literals)
        return cls(matcher, tuple(slots), tuple(kept), tuple(texts), b"".join(slots), literals)


def value_test(matcher: Matcher) -> ValueTest:
    """The part of a test that does not depend on a partition, kept with the matcher."""
    known = matcher.described.get(_TEST)
    if not isinstance(known, ValueTest):
        known = matcher.described[_TEST] = _value_test(matcher)
    return known


def _value_test(matcher: Matcher) -> ValueTest:
    slots, kept = [_NO_SLOT] * KINDS, list[AnyArray]()
    if matcher.everything:
        return ValueTest.of(matcher, (_NO_SLOT, *[_FOUR.pack(MODE_EVERYTHING, 0, 0, 0)] * (KINDS - 1)), (), ())

    def ranges(pairs: list[tuple[int, int]]) -> bytes:
        inside = [(max(low, INT_MIN), min(high, INT_MAX)) for low, high in pairs if low <= INT_MAX and high >= INT_MIN]
        bounds: I64 = np.array(inside, np.int64).reshape(-1)
        kept.append(bounds)
        return _FOUR.pack(MODE_RANGES, address_of(bounds), len(inside), 0)

    if matcher.numbers:
        slots[Kind.INT] = ranges([wanted.integers() for wanted in matcher.numbers])
        floats: F64 = np.array([wanted.floats() for wanted in matcher.numbers], np.float64).reshape(-1)
        scales = range(SUM_SCALE + 1)
        decimals: I64 = np.array(
            [[wanted.mantissas(scale) for wanted in matcher.numbers] for scale in scales], np.int64
        )
        kept += [floats, decimals]
        slots[Kind.FLOAT] = _FOUR.pack(MODE_RANGES, address_of(floats), len(matcher.numbers), address_of(decimals))
    if matcher.times:
        slots[Kind.TIME] = ranges([(span.first_ms, span.last_ms) for span in matcher.times])
    if matcher.flags:
        slots[Kind.BOOL] = ranges([(int(flag), int(flag)) for flag in matcher.flags])
    return ValueTest.of(matcher, slots, kept, tuple(filter(matcher.decides, TEXT_KINDS)))


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
) -> bytes:
    """The row of a test in one partition; what it names is kept in `kept`, what deciding it read counts in `stats`.

    `older` are columns of values that an attribute had before.
    """
    offsets, address = (0, 0) if columns is None else columns.addresses
    head = _FOUR.pack(test.matcher.negated, -1 if key is None else key, offsets, address)
    kept.append(columns)
    if key is None or not test.texts:
        return head + test.joined
    slots = list(test.slots)
    kinds = frozenset[int]() if columns is None else columns.kinds
    if older is not None:
        kinds |= older.kinds
    for kind in test.texts:
        if attribute and older is None and kind is Kind.STRING and test.matcher.substring is not None:
            slots[kind] = _search_slot(test.matcher.substring, key, view, kept)
        elif has_texts(kinds, view, kind, unsealed=not attribute):
            slots[kind] = _text_slot(test, key, kind, view, stats, kept, attribute=attribute)
    return head + b"".join(slots)


def _text_slot(
    test: ValueTest,
    key: int,
    kind: Kind,
    view: PartitionView,
    stats: NodeStats,
    kept: list[object],
    *,
    attribute: bool,
) -> bytes:
    """The slot of strings or lists: the codes that satisfy the condition, in one partition."""
    if kind is Kind.STRING and test.literals is not None and len(test.literals) <= _FEW:
        # Looked up without a step between: nearly every question is about some text, in every partition.
        scope, look_up = scope_of(key, attribute=attribute, is_list=False), view.dictionary.lookup
        codes = [code for literal in test.literals if (code := look_up(scope, literal)) is not None]
        if codes:
            return _FOUR.pack(MODE_CODES, codes[0], len(codes), codes[-1])
    decided = decide_all(view, key, kind, test.matcher, stats, attribute=attribute)
    if decided.table is not None:
        kept.append(decided.table)
        return _FOUR.pack(MODE_TABLE, address_of(decided.table), decided.table.shape[0], 0)
    first, second, *_ = *decided.few, 0, 0
    return _FOUR.pack(MODE_CODES, first, len(decided.few), second)


def _search_slot(wanted: bytes, key: int, view: PartitionView, kept: list[object]) -> bytes:
    """A table of strings that kernels fill as rows ask for them."""
    offsets, data = view.string_arena(key, attribute=True)
    count = offsets.shape[0] - 1
    needle, table, seen = np.frombuffer(wanted, np.uint8), np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    search: I64 = np.array(
        [
            address_of(needle),
            needle.shape[0],
            address_of(offsets),
            offsets.dtype != np.uint32,
            address_of(data),
            data.shape[0],
            address_of(seen),
            0,
        ],
        np.int64,
    )
    kept += [needle, table, seen, search, offsets, data]
    return _FOUR.pack(MODE_TABLE, address_of(table), count, address_of(search))
