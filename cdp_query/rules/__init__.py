"""Rewrite rules: pure tree -> tree functions that never change an answer, one per file, applied in this order."""

from __future__ import annotations

from typing import Final

from cdp_query.rules.flatten import flatten
from cdp_query.rules.fold_windows import fold_windows
from cdp_query.rules.merge_values import merge_values
from cdp_query.rules.negate import negate
from cdp_query.rules.push_not import push_not
from cdp_query.rules.share import share
from cdp_query.rules.simplify import simplify
from cdp_query.tree import (
    All,
    Any,
    Breakdown,
    Diff,
    Distribution,
    Flow,
    Funnel,
    Node,
    Not,
    Overlap,
    Question,
    Retention,
    Rfm,
    Trend,
)

RULES = (push_not, negate, flatten, simplify, fold_windows, merge_values, share)
_ROUNDS_MAX: Final = 8  # each takes something away; what people write is done after two


def rewrite(question: Question) -> Question:
    """The question after all rules; reports keep their steps."""
    match question:
        case Overlap(segments):
            return Overlap(tuple(map(_rewritten, segments)))
        case Diff(segment, start, end):
            return Diff(_rewritten(segment), start, end)
        case Distribution(segment, number):
            return Distribution(_rewritten(segment), number)
        case Funnel() | Trend() | Retention() | Rfm() | Flow():
            return question
    if isinstance(question, Breakdown):
        return Breakdown(_rewritten(question.segment), question.attribute)
    return _rewritten(question)


def _rewritten(segment: Node) -> Node:
    """All rules in turn, until none finds anything: what one puts together, another may simplify."""
    if not isinstance(segment, All | Any | Not):
        return segment
    for _ in range(_ROUNDS_MAX):
        before = segment
        for rule in RULES:
            segment = rule(segment)
        if segment == before:
            break
    return segment
