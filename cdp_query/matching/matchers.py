"""Conditions compiled for columns: for each kind of value, the test that its values must pass.

A condition is decided per kind; a value of another kind, or none, counts as missing. `negated` conditions
(`!=`, `not in`, `missing` ...) are the complement of their positive form, missing values included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_query import tree
from cdp_query.calendar.anniversaries import anniversary_decision, time_test_span
from cdp_query.calendar.windows import Interval, is_before, moment_span
from cdp_query.calendar.written_times import is_written_time, text_as_time, text_in_spans
from cdp_query.errors import QueryInvalid
from cdp_query.matching.case_folding import folded, folded_pattern
from cdp_query.matching.item_masks import any_item_holds, values_holding
from cdp_query.matching.items_matcher import items_matcher
from cdp_query.matching.masks import range_mask
from cdp_query.matching.matcher import Matcher, TextDecision
from cdp_query.matching.packed_lists import PackedLists, PackedTexts
from cdp_query.matching.ranges import Range, range_of
from cdp_query.matching.versions import version_decision
from cdp_store.arrays import Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS


def compile_condition(condition: tree.Condition, context: tree.Context) -> Matcher:
    """The matcher of a condition; QueryInvalid if it applies to no type."""
    match condition:
        case tree.Compare(op, value, ci):
            compared = _compare(op, value, ci, context)
            if op not in (tree.Op.EQ, tree.Op.NE):
                return compared
            positive = _with_items(compared)
            return _complement(positive) if op is tree.Op.NE else positive
        case tree.OneOf(values, negated, ci):
            positive = _with_items(_one_of(values, ci, context))
            return _complement(positive) if negated else positive
        case tree.Between(low, high):
            return _between(low, high, context)
        case tree.TextTest(op, pattern, negated, ci):
            substring = pattern.encode() if op is tree.TextOp.CONTAINS and pattern and not ci else None
            positive = _with_items(Matcher(text=_text_decision(op, pattern, ci), substring=substring))
            return _complement(positive) if negated else positive
        case tree.Exists(negated):
            return Matcher(everything=True, negated=negated)
        case tree.ListTest(op, values):
            return _list_test(op, _of_texts(values), [_compare(tree.Op.EQ, value, False, context) for value in values])
        case tree.SizeTest(op, size):
            return _size_test(op, size)
        case tree.VersionTest(op, version):
            positive = Matcher(text=version_decision(tree.Op.EQ if op is tree.Op.NE else op, version))
            return _complement(positive) if op is tree.Op.NE else positive
        case tree.TimeTest():
            return _in_spans((time_test_span(condition, context),), context)
        case tree.ItemsTest():
            return items_matcher(condition, lambda field: compile_condition(field, context))
        case tree.Anniversary():
            decide = anniversary_decision(condition, context)
            return Matcher(instants=decide, text=text_as_time(decide, context.tz), typed=is_written_time)


def _one_of(values: Sequence[tree.Literal], ci: bool, context: tree.Context) -> Matcher:
    texts = [value for value in values if isinstance(value, str)] if ci else []
    found = [_compare(tree.Op.EQ, value, False, context) for value in values if not (ci and isinstance(value, str))]
    if texts:
        wanted = pa.array([text.casefold() for text in texts], pa.large_string())
        found.append(Matcher(text=lambda strings: pc.is_in(folded(strings), value_set=wanted)))
    return _union(found)


def _complement(matcher: Matcher) -> Matcher:
    return Matcher(
        matcher.numbers,
        matcher.times,
        matcher.flags,
        matcher.text,
        matcher.lists,
        matcher.everything,
        not matcher.negated,
        matcher.literals,
        matcher.instants,
        matcher.substring,
        matcher.typed,
    )


def _compare(op: tree.Op, value: tree.Literal, ci: bool, context: tree.Context) -> Matcher:
    ordering = op not in (tree.Op.EQ, tree.Op.NE)
    match value:
        case bool():
            if ordering:
                raise QueryInvalid(f"{op.value} does not apply to true and false; use = or !=")
            return Matcher(flags=frozenset({value}))
        case int() | float():
            return Matcher(numbers=(range_of(op, value),))
        case tree.Moment():
            return _in_spans((_time_span(op, moment_span(value, context)),), context)
    if ordering:
        raise QueryInvalid(f"{op.value} compares numbers and times, not the string {value!r}; use =, in or contains")
    return Matcher(text=_equals(value, ci), literals=None if ci else (value,))


def _in_spans(spans: tuple[Interval, ...], context: tree.Context) -> Matcher:
    """Times in some intervals, also those in texts."""
    return Matcher(times=spans, text=text_in_spans(spans, context.tz), typed=is_written_time)


def _time_span(op: tree.Op, span: Interval) -> Interval:
    match op:
        case tree.Op.LT:
            return Interval(TIME_MIN_MS, span.first_ms - 1)
        case tree.Op.LE:
            return Interval(TIME_MIN_MS, span.last_ms)
        case tree.Op.GT:
            return Interval(span.last_ms + 1, TIME_MAX_MS)
        case tree.Op.GE:
            return Interval(span.first_ms, TIME_MAX_MS)
    return span


def _between(low: tree.Literal, high: tree.Literal, context: tree.Context) -> Matcher:
    match low, high:
        case (bool(), _) | (_, bool()):
            pass
        case (int() | float(), int() | float()):
            if low > high:
                raise QueryInvalid(f"between {low} and {high} is empty; write the smaller number first")
            return Matcher(numbers=(Range(low, high),))
        case (tree.Moment(), tree.Moment()):
            if is_before(high, low, context):
                raise QueryInvalid(f"between {low.iso} and {high.iso} is empty; write the earlier time first")
            span = Interval(moment_span(low, context).first_ms, moment_span(high, context).last_ms)
            return _in_spans((span,), context)
    raise QueryInvalid("between takes two numbers or two times")


def _union(matchers: Sequence[Matcher]) -> Matcher:
    texts = [matcher.text for matcher in matchers if matcher.text is not None]
    literals = [matcher.literals for matcher in matchers if matcher.text is not None]
    kinds_of_text = [matcher.typed for matcher in matchers if matcher.text is not None]
    return Matcher(
        numbers=tuple(bounds for matcher in matchers for bounds in matcher.numbers),
        times=tuple(span for matcher in matchers for span in matcher.times),
        flags=frozenset().union(*(matcher.flags for matcher in matchers)),
        text=_any_of(texts) if texts else None,
        literals=None if None in literals else tuple(item for known in literals if known for item in known),
        typed=None if None in kinds_of_text or not kinds_of_text else is_written_time,
    )


def _with_items(matcher: Matcher) -> Matcher:
    """The same condition on lists: it holds if it holds for any item."""
    literals, plain = matcher.literals, matcher.numbers or matcher.times or matcher.flags

    def decide(lists: PackedLists) -> Bools:
        if literals is None or plain:
            return any_item_holds(lists, matcher)
        return lists.holding(PackedTexts.of(literals), every=False)

    return Matcher(
        matcher.numbers,
        matcher.times,
        matcher.flags,
        matcher.text,
        decide,
        literals=matcher.literals,
        substring=matcher.substring,
        typed=matcher.typed,
    )


def _of_texts(values: Sequence[tree.Literal]) -> tuple[str, ...] | None:
    """The values if all are texts, which kernels find without a look at any other item."""
    texts = tuple(value for value in values if isinstance(value, str))
    return texts if len(texts) == len(values) else None


def _list_test(op: tree.ListOp, texts: tuple[str, ...] | None, wanted: Sequence[Matcher]) -> Matcher:
    every, negated = op is tree.ListOp.HAS_ALL, op is tree.ListOp.HAS_NONE
    if texts is not None:
        wanted_texts = PackedTexts.of(texts)
        return Matcher(lists=lambda lists: lists.holding(wanted_texts, every=every), negated=negated)
    join = np.logical_and if every else np.logical_or

    def decide(lists: PackedLists) -> Bools:
        owners, items = lists.items()
        found = [lists.any_item(owners, values_holding(items, one)) for one in wanted]
        start: Bools = np.full(len(lists), every)
        return reduce(join, found, start)

    return Matcher(lists=decide, negated=negated)


def _size_test(op: tree.Op, size: int) -> Matcher:
    bounds = range_of(op, size)
    if op is tree.Op.NE:
        return Matcher(lists=lambda lists: ~range_mask(lists.sizes(), bounds))
    return Matcher(lists=lambda lists: range_mask(lists.sizes(), bounds))


def _equals(value: str, ci: bool) -> TextDecision:
    if ci:
        return lambda strings: pc.equal(folded(strings), pa.scalar(value.casefold(), pa.large_string()))
    return lambda strings: pc.equal(strings, pa.scalar(value, pa.large_string()))


def _any_of(decisions: Sequence[TextDecision]) -> TextDecision:
    def decide(strings: pa.Array) -> pa.Array:
        held = decisions[0](strings)
        for decision in decisions[1:]:
            held = pc.or_(held, decision(strings))
        return held

    return decide


def _text_decision(op: tree.TextOp, pattern: str, ci: bool) -> TextDecision:
    if op is tree.TextOp.MATCHES:
        _check_regex(pattern)
        return _matches_in_any_case(pattern) if ci else lambda strings: pc.match_substring_regex(strings, pattern)
    test = {
        tree.TextOp.CONTAINS: pc.match_substring,
        tree.TextOp.STARTS_WITH: pc.starts_with,
        tree.TextOp.ENDS_WITH: pc.ends_with,
    }[op]
    if not ci:
        return lambda strings: test(strings, pattern)
    part = pattern.casefold()
    return lambda strings: test(folded(strings), part)


def _matches_in_any_case(pattern: str) -> TextDecision:
    """The pattern matches the text itself, ignoring case, or the folded text."""
    for_folded = folded_pattern(pattern)
    _check_regex(for_folded)

    def decide(strings: pa.Array) -> pa.Array:
        return pc.or_(
            pc.match_substring_regex(strings, pattern, ignore_case=True),
            pc.match_substring_regex(folded(strings), for_folded, ignore_case=True),
        )

    return decide


def _check_regex(pattern: str) -> None:
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), pattern)
    except pa.ArrowInvalid as error:
        raise QueryInvalid(f"matches: {pattern!r} is no regular expression: {error}") from error
