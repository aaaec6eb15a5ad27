"""Tests of values as rows of a table: the ranges of a matcher once per question, codes of texts once per partition."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np

from cdp_query.compiled.descriptors import ColumnTable, address_of
from cdp_query.compiled.kernels.layout import (
    KINDS,
    MODE_CODES,
    MODE_EVERYTHING,
    MODE_OTHER_TYPE,
    MODE_RANGES,
    MODE_TABLE,
    SEARCH_FIELDS,
    SUM_SCALE,
)
from cdp_query.matching.decided import decide_all
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I64, U8, AnyArray
from cdp_store.columns.dictionary import scope_of
from cdp_store.memory.view import PartitionView
from cdp_store.values import TEXT_KINDS, Kind

_NEGATED: Final = struct.Struct("=q")  # TEST_NEGATED
_FOUR: Final = struct.Struct("=4q")  # each slot
_SEARCH: Final = struct.Struct(f"={SEARCH_FIELDS}q")
_TEST: Final = "value test"
_STRING, _LIST = int(Kind.STRING), int(Kind.LIST)
_FEW: Final = 2  # codes that a slot holds itself
_NO_SLOT: Final = _FOUR.pack(MODE_OTHER_TYPE, 0, 0, 0)
_NO_CODES: Final = _FOUR.pack(MODE_CODES, 0, 0, 0)


def is_testable(matcher: Matcher) -> bool:
    """True if kernels can test values against a matcher; instants are decided by Python."""
    return matcher.instants is None


@dataclass(frozen=True, slots=True)
class ValueTest:
    """A matcher for kernels; `slots` are those of the kinds that all partitions share, `kept` the arrays they name.

    `texts` are the kinds whose values each partition decides by code. `negated` begins each row, `joined` are all
    slots, and `before` those before the one of strings; `literals` are those of the matcher as they are stored.
    """

    matcher: Matcher
    negated: bytes
    slots: tuple[bytes, ...]
    kept: tuple[AnyArray, ...]
    texts: frozenset[int]
    joined: bytes
    before: bytes
    literals: tuple[bytes, ...] | None

    @classmethod
    def of(cls, matcher: Matcher, slots: Sequence[bytes], kept: Sequence[AnyArray], texts: Iterable[int]) -> ValueTest:
        """The test with these slots."""
        literals = None if matcher.literals is None else tuple(literal.encode() for literal in matcher.literals)
        negated = _NEGATED.pack(matcher.negated)
        joined, before = b"".join(slots), b"".join(slots[: Kind.STRING])
        return cls(matcher, negated, tuple(slots), tuple(kept), frozenset(texts), joined, before, literals)


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
        by_range = [wanted.mantissas_of(range(SUM_SCALE + 1)) for wanted in matcher.numbers]
        decimals: I64 = np.array([*zip(*by_range, strict=True)], np.int64)
        kept += [floats, decimals]
        slots[Kind.FLOAT] = _FOUR.pack(MODE_RANGES, address_of(floats), len(matcher.numbers), address_of(decimals))
    if matcher.times:
        slots[Kind.TIME] = ranges([(span.first_ms, span.last_ms) for span in matcher.times])
    if matcher.flags:
        slots[Kind.BOOL] = ranges([(int(flag), int(flag)) for flag in matcher.flags])
    return ValueTest.of(matcher, slots, kept, map(int, filter(matcher.decides, TEXT_KINDS)))


@dataclass(frozen=True, slots=True)
class Tested:
    """The property or attribute of a test in one partition: its number, and what the test's row says of its columns.

    `scope` is the dictionary of its strings, `kinds` are those of any of its values in columns. `is_past` is set where
    some are values that an attribute had before.
    """

    key: int | None
    head: bytes
    scope: int = 0
    kinds: frozenset[int] = frozenset()
    is_past: bool = False

    @staticmethod
    def of(key: int, columns: ColumnTable, *, attribute: bool) -> Tested:
        """A property, or an `attribute`, with these columns."""
        scope = scope_of(key, attribute=attribute, is_list=False)
        return Tested(key, _HEAD.pack(key, *columns.addresses), scope, columns.kinds)

    @staticmethod
    def of_flags(columns: ColumnTable) -> Tested:
        """Flags that Python makes, in these columns."""
        return Tested(None, _HEAD.pack(-1, *columns.addresses))

    def with_older(self, columns: ColumnTable) -> Tested:
        """An attribute with values that it had before, in such columns."""
        return replace(self, kinds=self.kinds | columns.kinds, is_past=True)


_HEAD: Final = struct.Struct("=3q")  # TEST_KEY to TEST_COLUMNS
_NOTHING: Final[Mapping[int, bytes]] = {}
UNKNOWN: Final = Tested(None, _HEAD.pack(-1, 0, 0))  # no partition has values under a name that it does not know


@dataclass(frozen=True, slots=True)
class TestRows:
    """A test in all partitions: what its rows name is kept in `kept`, what deciding it read counts for its node."""

    test: ValueTest
    views: Sequence[PartitionView]
    node: int
    stats: Mapping[tuple[int, int], NodeStats]
    kept: list[object]
    is_attribute: bool

    def of(self, found: Sequence[Tested]) -> list[bytes]:
        """The row of each partition."""
        negated, joined = self.test.negated, self.test.joined
        if not self.test.texts:
            return [negated + own.head + joined for own in found]
        searched = self._searched(found)
        return [
            negated + own.head + (joined if own.key is None else self._slots(number, own.key, own, searched))
            for number, own in enumerate(found)
        ]

    def _slots(self, number: int, key: int, own: Tested, searched: Mapping[int, bytes]) -> bytes:
        test, unsealed = self.test, not self.is_attribute and len(self.views[number].events.delta) > 0
        string, of_lists = test.slots[Kind.STRING], test.slots[Kind.LIST]
        if _STRING in test.texts and (_STRING in own.kinds or unsealed):
            string = searched.get(number) or self._string(number, key, own.scope)
        if _LIST in test.texts and (_LIST in own.kinds or unsealed):
            of_lists = self._decided(number, key, Kind.LIST)
        return test.before + string + test.slots[Kind.TIME] + of_lists

    def _string(self, number: int, key: int, scope: int) -> bytes:
        """The slot of strings; literals are looked up without a step between: most questions are about some."""
        literals = self.test.literals
        if literals is None:
            return self._decided(number, key, Kind.STRING)
        look_up = self.views[number].dictionary.lookup
        codes = [code for literal in literals if (code := look_up(scope, literal)) is not None]
        if len(codes) > _FEW:
            held: U8 = np.zeros(max(codes) + 1, np.uint8)  # no code beyond the table satisfies the condition
            held[codes] = 1
            self.kept.append(held)
            return _FOUR.pack(MODE_TABLE, address_of(held), held.shape[0], 0)
        return _FOUR.pack(MODE_CODES, codes[0], len(codes), codes[-1]) if codes else _NO_CODES

    def _decided(self, number: int, key: int, kind: Kind) -> bytes:
        """The slot of strings or lists: the codes that satisfy the condition, in one partition."""
        view, test = self.views[number], self.test
        stats = self.stats[number, self.node]
        decided = decide_all(view, key, kind, test.matcher, stats, attribute=self.is_attribute)
        if decided.table is not None:
            self.kept.append(decided.table)
            return _FOUR.pack(MODE_TABLE, address_of(decided.table), decided.table.shape[0], 0)
        first, second, *_ = *decided.few, 0, 0
        return _FOUR.pack(MODE_CODES, first, len(decided.few), second)

    def _searched(self, found: Sequence[Tested]) -> Mapping[int, bytes]:
        """By partition the slots of strings that kernels search as rows ask for them."""
        wanted = self.test.matcher.substring
        if wanted is None or not self.is_attribute:
            return _NOTHING
        arenas = {
            number: self.views[number].string_arena(own.key, attribute=True)
            for number, own in enumerate(found)
            if own.key is not None and not own.is_past
        }
        needle = np.frombuffer(wanted, np.uint8)
        counts = [offsets.shape[0] - 1 for offsets, _ in arenas.values()]
        tables: U8 = np.zeros(2 * sum(counts), np.uint8)  # what contains it, and what has been searched
        ends = [2 * end for end in accumulate(counts, initial=0)]
        at, of_needle, rows = address_of(tables), (address_of(needle), needle.shape[0]), list[bytes]()
        for (offsets, data), count, start in zip(arenas.values(), counts, ends, strict=False):
            strings = address_of(offsets), offsets.dtype != np.uint32, address_of(data), data.shape[0]
            rows.append(_SEARCH.pack(*of_needle, *strings, at + start + count, 0))
        searches: I64 = np.frombuffer(bytearray().join(rows), np.int64)
        own, size = address_of(searches), _SEARCH.size
        self.kept.extend([needle, tables, searches, *arenas.values()])
        return {
            number: _FOUR.pack(MODE_TABLE, at + start, count, own + place * size)
            for place, (number, count, start) in enumerate(zip(arenas, counts, ends, strict=False))
        }
