"""Requests from what people ask with: text, expressions of cdp_router.client.questions, or messages."""

from __future__ import annotations

from typing import Any, Protocol

from cdp.v1 import profile_pb2, query_pb2, segment_pb2


class Asked(Protocol):
    """What can be asked: a segment or a report."""

    def question(self) -> segment_pb2.Question:
        """The question as a message."""


def query_request(question: str | Asked, **options: Any) -> query_pb2.QueryRequest:
    """A question as a request; `options` are fields of QueryRequest."""
    if isinstance(question, str):
        return query_pb2.QueryRequest(text=question, **options)
    return query_pb2.QueryRequest(tree=question.question(), **options)


def members_request(segment: str | Asked, **options: Any) -> query_pb2.MembersRequest:
    """A segment whose members are wanted; `options` are fields of MembersRequest."""
    if isinstance(segment, str):
        return query_pb2.MembersRequest(text=segment, **options)
    question = segment.question()
    if question.WhichOneof("form") != "segment":
        raise ValueError("a report has no members; ask for those of a segment")
    return query_pb2.MembersRequest(segment=question.segment, **options)


def profile_name(user_id: str | None, anonymous_id: str | None) -> profile_pb2.ProfileName:
    """The name of a profile; ValueError unless exactly one id is given."""
    if (user_id is None) == (anonymous_id is None):
        raise ValueError("give user_id or anonymous_id")
    if user_id is not None:
        return profile_pb2.ProfileName(user_id=user_id)
    return profile_pb2.ProfileName(anonymous_id=anonymous_id or "")
