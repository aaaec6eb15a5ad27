"""Which questions a key without profile-read may not ask: those that test what is personal."""

from __future__ import annotations

from dataclasses import replace

from cdp_query import tree
from cdp_query.names import names_of
from cdp_router.security.errors import PersonalData
from cdp_router.security.privacy import Privacy


def check_conditions(question: tree.Question, privacy: Privacy) -> None:
    """PersonalData where a condition tests a value that is personal, since its count would tell that value.

    Whether a value is there may be asked. What a report groups by or adds up is masked in its answer instead, and what
    stands in a named segment was put there by who may.
    """
    check_mentions(_conditions(question), privacy)


def check_mentions(question: tree.Question, privacy: Privacy) -> None:
    """PersonalData where a question mentions anything personal at all, as none may that is asked about one user: its
    proof would show the value."""
    names = names_of(question)
    for name in sorted(names.attributes | names.properties):
        if privacy.holds_personal(name):
            raise PersonalData(name)


def is_personal(segment: tree.Node, privacy: Privacy) -> bool:
    """Whether a segment tests a value that is personal."""
    try:
        check_conditions(segment, privacy)
    except PersonalData:
        return True
    return False


def _conditions(question: tree.Question) -> tree.Question:
    """The question without what it only groups by, adds up or asks to be there."""
    match question:
        case tree.Breakdown(segment) | tree.Distribution(segment) | tree.Diff(segment):
            return _without_presence(segment)
        case tree.Overlap(segments):
            return tree.Any(tuple(map(_without_presence, segments)))
        case tree.Funnel():
            return replace(question, by_attribute=None, by_entry=None)
        case tree.Trend():
            return replace(question, property=None)
        case tree.Retention() | tree.Rfm() | tree.Flow():
            return question
    return _without_presence(question)


def _without_presence(node: tree.Node) -> tree.Node:
    match node:
        case tree.All(items):
            return tree.All(tuple(map(_without_presence, items)))
        case tree.Any(items):
            return tree.Any(tuple(map(_without_presence, items)))
        case tree.Not(item):
            return tree.Not(_without_presence(item))
        case tree.AttributeTest(condition=tree.Exists()):
            return tree.Everyone()
    return node
