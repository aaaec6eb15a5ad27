"""Requests from the forms that questions have: text, expressions of cdp_router.client.questions, or messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from cdp.v1 import profile_pb2, query_pb2, segment_pb2

from cdp_router.records.as_of import AsOf, as_of_stamp


class Asked(Protocol):
    """A segment or a report, as an expression that has a message."""

    def question(self) -> segment_pb2.Question:
        """The question as a message."""


class MembersOptions(TypedDict, total=False):
    """Options of a list of members; an `as_of` without a zone is in the question's zone, a date is its first instant
    there.
    """

    as_of: AsOf
    tz: str
    exclude_anonymous: bool
    strict: bool
    attributes: Sequence[str]


class QueryOptions(TypedDict, total=False):
    """Options of a question; an `as_of` without a zone is in the question's zone, a date is its first instant there."""

    as_of: AsOf
    tz: str
    by: str
    exclude_anonymous: bool
    strict: bool
    allow_partial: bool
    explain: bool


def query_request(question: str | Asked, **options: Unpack[QueryOptions]) -> query_pb2.QueryRequest:
    """A question as a request."""
    if isinstance(question, str):
        return query_pb2.QueryRequest(text=question, **_fields(options))
    return query_pb2.QueryRequest(tree=question.question(), **_fields(options))


def members_request(segment: str | Asked, **options: Unpack[MembersOptions]) -> query_pb2.MembersRequest:
    """A request for the members of a segment."""
    if isinstance(segment, str):
        return query_pb2.MembersRequest(text=segment, **_fields(options))
    question = segment.question()
    if question.WhichOneof("form") != "segment":
        raise ValueError("a report has no members; ask for those of a segment")
    return query_pb2.MembersRequest(segment=question.segment, **_fields(options))


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    as_of = options.get("as_of")
    if as_of is None:
        return dict(options)
    return {**options, "as_of": as_of_stamp(as_of, options.get("tz") or "UTC")}


def profile_name(user_id: str | None, anonymous_id: str | None) -> profile_pb2.ProfileName:
    """The name of a profile; ValueError unless exactly one id is given."""
    if (user_id is None) == (anonymous_id is None):
        raise ValueError("give user_id or anonymous_id")
    if user_id is not None:
        return profile_pb2.ProfileName(user_id=user_id)
    return profile_pb2.ProfileName(anonymous_id=anonymous_id or "")
