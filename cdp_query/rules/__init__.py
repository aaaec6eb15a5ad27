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
from cdp_query.tree import All, Any, Node, Not, Question
from cdp_query.tree.walk import with_operands

RULES = (push_not, negate, flatten, simplify, fold_windows, merge_values, share)
_ROUNDS_MAX: Final = 8  # each removes something; questions written by people are done after two


def rewrite(question: Question) -> Question:
    """The question after all rules; reports keep their steps."""
    return _rewritten(question) if isinstance(question, Node) else with_operands(question, _rewritten)


def _rewritten(segment: Node) -> Node:
    """Applies all rules in turn, until none changes anything: the result of one may be simplified by another."""
    if not isinstance(segment, All | Any | Not):
        return segment
    for _ in range(_ROUNDS_MAX):
        before = segment
        for rule in RULES:
            segment = rule(segment)
        if segment == before:
            break
    return segment
