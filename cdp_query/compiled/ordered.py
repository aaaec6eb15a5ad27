"""Sequences and funnels as leaves of a program: one for the whole, and one for each step."""

from __future__ import annotations

from collections.abc import Sequence

from cdp_query.bind.bound import BoundSequence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.kernels.layout import COUNT_LEAF, DO_LEAF, SEQUENCE_LEAF
from cdp_query.compiled.leaves import write_leaf
from cdp_query.compiled.program_parts import Leaf, Program


def can_follow(steps: Sequence[BoundEvents]) -> bool:
    """True if no event can fill two steps."""
    names = [name for step in steps for name in step.names]
    return len(names) == len(set(names))


def write_sequence(program: Program, node: BoundSequence, depth: int) -> None:
    """Appends the test whether all steps were completed."""
    program.do(DO_LEAF, depth, _write_steps(program, node, is_report=False), program.node(node.id))


def write_funnel(program: Program, node: BoundSequence, recent: Interval) -> int:
    """Appends the leaf that adds up users by depth, and those that entered in the interval `recent` and may go on."""
    leaf = _write_steps(program, node, is_report=True)
    entry = Leaf(node.id, node.steps[0].names, is_gathered=True)
    write_leaf(program, COUNT_LEAF, entry, node.steps[0].where, first_ms=recent.first_ms, last_ms=recent.last_ms)
    return leaf


def _write_steps(program: Program, node: BoundSequence, *, is_report: bool) -> int:
    first_ms, last_ms = node.interval.first_ms, node.until_ms
    if node.within_ms >= 0:
        last_ms = min(last_ms, node.interval.last_ms + node.within_ms)
    program.steps = max(program.steps, len(node.steps))
    rules = {"steps": len(node.steps), "within": node.within_ms, "strict": int(node.strict_ties)}
    leaf = write_leaf(program, SEQUENCE_LEAF, Leaf(node.id), None, **rules, reports=int(is_report))
    for number, step in enumerate(node.steps):
        window = {"first_ms": first_ms, "last_ms": last_ms if number else min(last_ms, node.interval.last_ms)}
        write_leaf(program, COUNT_LEAF, Leaf(node.id, step.names, is_gathered=True), step.where, **window)
    return leaf
