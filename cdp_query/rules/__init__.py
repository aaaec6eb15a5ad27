"""Rewrite rules: pure tree -> tree functions that never change an answer, one per file, applied in this order."""

from __future__ import annotations

from cdp_query.rules.flatten import flatten
from cdp_query.rules.push_not import push_not
from cdp_query.tree import Breakdown, Funnel, Question

RULES = (push_not, flatten)


def rewrite(question: Question) -> Question:
    """The question after all rules; reports keep their steps."""
    match question:
        case Funnel():
            return question
        case Breakdown(segment, attribute):
            for rule in RULES:
                segment = rule(segment)
            return Breakdown(segment, attribute)
    for rule in RULES:
        question = rule(question)
    return question
