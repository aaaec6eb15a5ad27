"""From a bound segment to a program: which of its parts kernels can evaluate, and their operations and leaves.

A segment is bound once for all partitions of a shard, its names numbered as the question mentions them (`numbered`);
each partition then gives the chunks and columns of these names (bound_program.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from cdp_query import tree
from cdp_query.bind import bound
from cdp_query.bind.bind import Binder
from cdp_query.bind.bind_event_tests import BoundPhases, BoundRecency
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest, BoundMeasure
from cdp_query.bind.names import numbers_of
from cdp_query.calendar.periods import periods_over
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.kernels.layout import (
    ALL_OPEN,
    ATTRIBUTE_LEAF,
    COUNT_LEAF,
    DAYS_LEAF,
    DAYS_MAX,
    DO_AND,
    DO_FALSE,
    DO_KEEP,
    DO_LEAF,
    DO_NOT,
    DO_NOTE,
    DO_OR,
    DO_RECALL,
    DO_SKIP_IF_ALL,
    DO_SKIP_IF_NONE,
    DO_TRUE,
    SUM_LEAF,
    SUM_SCALE,
)
from cdp_query.compiled.leaves import can_read, write_leaf
from cdp_query.compiled.ordered import can_follow, write_sequence
from cdp_query.compiled.periodic import write_periods
from cdp_query.compiled.program_parts import Leaf, Program, Test
from cdp_query.compiled.value_tests import is_testable, value_test
from cdp_query.matching.ranges import INT_MAX, INT_MIN, Number, Range, range_of
from cdp_query.scan.decimal_sums import sum_bounds
from cdp_query.tree import Aggregate, Measured, Occurrence, Op
from cdp_store.limits import DAY_MS, TIME_MIN_MS
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_SLOTS_MAX: Final = 64


def numbered(segment: tree.Node, binder: Binder, views: Sequence[PartitionView]) -> SchemaReading:
    """Numbers for the names of a segment; where it is about every event, for those of all partitions."""
    if not binder.facts(segment).every_event:
        return binder.numbers(segment)
    names = binder.names(segment)
    return numbers_of(replace(names, events=names.events.union(*(view.schema.events for view in views))))


def dropped_events(names: SchemaReading, views: Sequence[PartitionView]) -> frozenset[int]:
    """Numbers of the events of which retention has dropped some, in any partition."""
    found = set[int]()
    for view in views:
        if view.summaries:
            found.update(at for name, at in names.events.items() if view.schema.events.get(name) in view.summaries)
    return frozenset(found)


def can_run(node: bound.BoundNode, dropped: frozenset[int]) -> bool:
    """True if kernels can evaluate a part; `dropped` are events of which retention has dropped some."""
    match node:
        case bound.BoundAll(items=items) | bound.BoundAny(items=items):
            return all(can_run(item, dropped) for item in items)
        case bound.BoundNot(item=item):
            return can_run(item, dropped)
        case bound.BoundEveryone():
            return True
        case bound.BoundAttribute(matcher=matcher):
            # Other tests of texts are better decided for the rows that other parts leave open.
            is_ours = matcher.text is None or matcher.literals is not None or matcher.substring is not None
            return is_testable(matcher) and is_ours
        case BoundAggregate(aggregate=aggregate):
            return aggregate is Aggregate.SUM and can_read(node.events, dropped)
        case BoundExpressionTest():
            return _days_of(node) is not None and can_read(_measure_of(node).events, dropped)
        case BoundCount() | BoundOccurrence() | BoundRecency() | BoundPhases():
            return can_read(node.events, dropped)
        case bound.BoundSequence(steps=steps):
            return can_follow(steps)
    return False


def write(program: Program, node: bound.BoundNode, repeated: frozenset[int], depth: int = 0) -> None:
    """Appends the operations that evaluate a part into the mask at a depth; `repeated` are ids of parts met again."""
    own, undecided = node.id, program.undecided
    if own in repeated and (own in program.kept_slots or len(program.kept_slots) < _SLOTS_MAX):
        slot = program.kept_slots.setdefault(own, len(program.kept_slots))
        program.undecided = ALL_OPEN  # elsewhere other rows may be asked for
        recall = program.do(DO_RECALL, depth, slot)
        _write(program, node, repeated, depth)
        program.do(DO_KEEP, depth, slot)
        program.aim(recall, slot | len(program.operations) << 8)
        program.undecided = undecided
    else:
        _write(program, node, repeated, depth)


def _write(program: Program, node: bound.BoundNode, repeated: frozenset[int], depth: int) -> None:
    match node:
        case bound.BoundAll(id=own, items=items):
            _write_group(program, own, items, repeated, depth, (DO_TRUE, DO_AND, DO_SKIP_IF_NONE))
        case bound.BoundAny(id=own, items=items):
            _write_group(program, own, items, repeated, depth, (DO_FALSE, DO_OR, DO_SKIP_IF_ALL))
        case bound.BoundNot(id=own, item=item):
            write(program, item, repeated, depth)
            program.do(DO_NOT, depth, node=program.node(own))
        case bound.BoundEveryone(id=own):
            program.do(DO_TRUE, depth, node=program.node(own))
        case _:
            _WRITERS[type(node)](program, node, depth)


def _write_group(
    program: Program,
    own: int,
    items: tuple[bound.BoundNode, ...],
    repeated: frozenset[int],
    depth: int,
    how: tuple[int, int, int],
) -> None:
    start, combine, skip = how
    if not items:
        program.do(start, depth)
    skips, before = list[int](), program.undecided
    for place, item in enumerate(sorted(items, key=program.weigh)):
        if place:
            skips.append(program.do(skip, depth))
            program.undecided = depth << 1 | (skip == DO_SKIP_IF_ALL)
        write(program, item, repeated, depth + (place > 0))
        if place:
            program.do(combine, depth)
    program.undecided = before
    for at in skips:
        program.aim(at, len(program.operations))
    program.do(DO_NOTE, depth, node=program.node(own))


def _write_attribute(program: Program, node: bound.BoundAttribute, depth: int) -> None:
    assert node.attribute is not None, "names of a question are all numbered"
    program.tests.append(Test(value_test(node.matcher), node.attribute, True, len(program.leaves)))
    read = Leaf(node.id, attribute=node.attribute)
    leaf = write_leaf(program, ATTRIBUTE_LEAF, read, test=len(program.tests) - 1)
    program.do(DO_LEAF, depth, leaf, program.node(node.id))


def _count(
    program: Program, own: int, events: BoundEvents, interval: Interval, wanted: Range, *, negated: bool, zero: bool
) -> int:
    low, high = (min(max(bound, INT_MIN), INT_MAX) for bound in wanted.integers())
    is_empty = wanted.integers()[0] > INT_MAX or wanted.integers()[1] < INT_MIN
    fields = {"low": 1 if is_empty else low, "high": 0 if is_empty else high}
    window = {"first_ms": interval.first_ms, "last_ms": interval.last_ms}
    flags = {"negated": int(negated), "exclude_zero": int(zero)}
    return write_leaf(program, COUNT_LEAF, Leaf(own, events.names), events.where, **fields, **window, **flags)


def _did(program: Program, own: int, events: BoundEvents, interval: Interval, depth: int, *, negated: bool) -> None:
    leaf = _count(program, own, events, interval, Range(low=1), negated=negated, zero=False)
    program.do(DO_LEAF, depth, leaf)


def _write_count(program: Program, node: BoundCount, depth: int) -> None:
    flags = {"negated": node.negated, "zero": node.exclude_zero}
    leaf = _count(program, node.id, node.events, node.interval, node.wanted, **flags)
    program.do(DO_LEAF, depth, leaf, program.node(node.id))


def _write_occurrence(program: Program, node: BoundOccurrence, depth: int) -> None:
    """Any such event in the interval, and none before (after) it."""
    first_ms, last_ms = max(node.interval.first_ms, TIME_MIN_MS), min(node.interval.last_ms, node.until_ms)
    is_first = node.occurrence is Occurrence.FIRST
    beyond = Interval(TIME_MIN_MS, first_ms - 1) if is_first else Interval(last_ms + 1, node.until_ms)
    _did(program, node.id, node.events, Interval(first_ms, last_ms), depth, negated=False)
    _did(program, node.id, node.events, beyond, depth + 1, negated=True)
    program.do(DO_AND, depth, node=program.node(node.id))


def _write_recency(program: Program, node: BoundRecency, depth: int) -> None:
    """The last event lies before an instant, so that none lies at it or later."""
    first, last, at = node.interval.first_ms, node.interval.last_ms, node.at_ms
    if node.op in (Op.EQ, Op.NE):
        exactly = Interval(max(first, at), min(last, at))
        _write_occurrence(program, BoundOccurrence(node.id, Occurrence.LAST, node.events, exactly, last), depth)
        if node.op is Op.NE:
            program.do(DO_NOT, depth)
        return
    since = at if node.op in (Op.GT, Op.LE) else at + 1
    later = Interval(max(first, since), last)
    _did(program, node.id, node.events, later, depth, negated=node.op in (Op.GT, Op.GE))
    program.do(DO_NOTE, depth, node=program.node(node.id))


def _write_phases(program: Program, node: BoundPhases, depth: int) -> None:
    program.do(DO_TRUE, depth)
    for interval, unwanted in [*((one, False) for one in node.wanted), *((one, True) for one in node.unwanted)]:
        _did(program, node.id, node.events, interval, depth + 1, negated=unwanted)
        program.do(DO_AND, depth)
    program.do(DO_NOTE, depth, node=program.node(node.id))


def _write_sum(program: Program, node: BoundAggregate, depth: int) -> None:
    (low, maybe_low), (high, maybe_high) = sum_bounds(node.wanted, SUM_SCALE)
    int_low, int_high = node.wanted.integers()
    if int_low > INT_MAX or int_high < INT_MIN:
        int_low, int_high = 1, 0
    bounds = {"low": low, "high": high, "maybe_low": maybe_low, "maybe_high": maybe_high}
    bounds |= {"int_low": max(int_low, INT_MIN), "int_high": min(int_high, INT_MAX)}
    window = {"first_ms": node.interval.first_ms, "last_ms": node.interval.last_ms, "negated": int(node.negated)}
    read = Leaf(node.id, node.events.names, node.property)
    leaf = write_leaf(program, SUM_LEAF, read, node.events.where, **bounds, **window)
    program.do(DO_LEAF, depth, leaf, program.node(node.id))


def _measure_of(node: BoundExpressionTest) -> BoundMeasure:
    assert isinstance(node.left, BoundMeasure), "asked after `_days_of`"
    return node.left


def _days_of(node: BoundExpressionTest) -> tuple[Range, bool] | None:
    """(wanted numbers, negated) where a test compares days in a short window; else None."""
    left, right = node.left, node.right
    if not isinstance(left, BoundMeasure) or left.function is not Measured.DAYS or not isinstance(right, tree.Number):
        return None
    first_ms, last_ms = left.interval.first_ms, left.interval.last_ms
    # At both ends a part of a day more, and once a zone may have skipped a day.
    if not first_ms <= last_ms < first_ms + (DAYS_MAX - 3) * DAY_MS or not _is_plain(right.value):
        return None
    return range_of(node.op, right.value), node.op is Op.NE


def _is_plain(value: Number) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX


def _write_days(program: Program, node: BoundExpressionTest, depth: int) -> None:
    found, measure = _days_of(node), _measure_of(node)
    assert found is not None, "asked before"
    wanted, negated = found
    interval = measure.interval
    days = periods_over("day", interval.first_ms, interval.last_ms, measure.tz)
    assert len(days) <= DAYS_MAX, "a bit each"
    low, high = (min(max(bound, INT_MIN), INT_MAX) for bound in wanted.integers())
    leaf = write_leaf(
        program,
        DAYS_LEAF,
        Leaf(node.id, measure.events.names),
        measure.events.where,
        first_ms=interval.first_ms,
        last_ms=interval.last_ms,
        low=low,
        high=high,
        negated=int(negated),
        **write_periods(program, days),
    )
    program.do(DO_LEAF, depth, leaf, program.node(node.id))


_Writer = Callable[[Program, Any, int], None]
_WRITERS: Final[Mapping[type, _Writer]] = {
    bound.BoundAttribute: _write_attribute,
    BoundCount: _write_count,
    BoundOccurrence: _write_occurrence,
    BoundRecency: _write_recency,
    BoundPhases: _write_phases,
    BoundAggregate: _write_sum,
    BoundExpressionTest: _write_days,
    bound.BoundSequence: write_sequence,
}
