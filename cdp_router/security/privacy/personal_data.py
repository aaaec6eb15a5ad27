"""Refusal of questions by keys without profile-read whose answer would reveal a personal value.

One rule covers all kinds of questions: a marked name may appear only in the places listed here.
"""

from __future__ import annotations

from typing import Final

from cdp_query import tree
from cdp_query.tree.mentions import VALUE_OF, Mention, mentions
from cdp_router.errors import PersonalData
from cdp_router.security.privacy.privacy import Privacy

# Groupings of an answer: `withholding.py` puts all values into one masked group.
_MASKED: Final = frozenset(((tree.Breakdown, "attribute"), (tree.Funnel, "by_attribute"), (tree.Funnel, "by_entry")))


def check_conditions(question: tree.Question, privacy: Privacy) -> None:
    """Raises PersonalData if an answer could depend on a personal value.

    Tests of presence are allowed, and so is grouping by a personal value, since the groups are masked. Neither is
    allowed for a part of a marked value, which would reveal the value. A named segment may test anything: its author
    had the role admin.
    """
    for mention in _personal(question, privacy):
        if not (_is_harmless(mention) and privacy.mark_above(mention.name) is None):
            raise PersonalData(mention.name, privacy.mark_above(mention.name) or mention.name)


def check_mentions(question: tree.Question, privacy: Privacy) -> None:
    """Raises PersonalData if a question mentions anything personal at all. Questions about one user may not: their
    proof would show the value."""
    for mention in _personal(question, privacy):
        raise PersonalData(mention.name, privacy.mark_above(mention.name) or mention.name)


def is_personal(segment: tree.Node, privacy: Privacy) -> bool:
    """True if a segment tests a personal value."""
    try:
        check_conditions(segment, privacy)
    except PersonalData:
        return True
    return False


def _personal(question: tree.Question, privacy: Privacy) -> list[Mention]:
    found = (mention for mention in mentions(question) if mention.kind in VALUE_OF)
    return [mention for mention in found if privacy.holds_personal(mention.name)]


def _is_harmless(mention: Mention) -> bool:
    match mention.part:
        case tree.AttributeTest(condition=tree.Exists()) | tree.PropertyTest(condition=tree.Exists()):
            return True
    return (type(mention.part), mention.field) in _MASKED
