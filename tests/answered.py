"""The answer of a report from its merged part, as clients see it."""

from __future__ import annotations

from cdp.v1 import query_pb2

from cdp_query import tree
from cdp_query.reports.parts import ReportPart
from cdp_query.reports.registry import finish_report
from cdp_router.contract.report_codec import answer_fields


def report_answer(question: tree.Question, part: ReportPart | None, context: tree.Context) -> query_pb2.QueryResponse:
    """A response with nothing but the answer of the report."""
    finished = finish_report(question, part, context)
    return query_pb2.QueryResponse(**answer_fields(None if finished is None else finished.answer))
