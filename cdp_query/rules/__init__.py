"""Rewrite rules: pure tree -> tree functions that never change an answer, one per file, applied in this order."""

from __future__ import annotations

from cdp_query.rules.flatten import flatten
from cdp_query.rules.push_not import push_not
from cdp_query.tree import (
    Breakdown,
    Diff,
    Distribution,
    Flow,
    Funnel,
    Node,
    Overlap,
    Question,
    Retention,
    Rfm,
    Trend,
)

RULES = (push_not, flatten)


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
    for rule in RULES:
        segment = rule(segment)
    return segment
