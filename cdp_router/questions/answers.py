"""Merged contributions to the answer a client sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdp.v1 import query_pb2, segment_pb2

from cdp_query import tree
from cdp_query.language import print_heading, print_question
from cdp_query.partial import Partial
from cdp_query.reports.registry import finish_report
from cdp_query.reports.value_keys import NONE_KEY
from cdp_query.stats import NodeStats, total
from cdp_query.tree.walk import operands
from cdp_router.contract.key_values import to_key_value
from cdp_router.contract.question_codec import to_question
from cdp_router.contract.report_codec import answer_fields
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import monotonic_ms


@dataclass(frozen=True, slots=True)
class Answering:
    """All an answer is made of: the question as asked and as evaluated, with the named segments written out.

    `plan` is the message of what was evaluated; `clock_ms` is the monotonic clock when the question came in.
    """

    asked: tree.Question
    question: tree.Question
    plan: segment_pb2.Question
    context: tree.Context
    used: Sequence[tuple[str, int]]
    partial: Partial
    coverage: query_pb2.Coverage
    warnings: Sequence[str]
    mistyped: Sequence[str]
    explain: bool
    clock_ms: float
    engine_ms: float


def answer(parts: Answering) -> query_pb2.QueryResponse:
    """The reply of semantics.md, section 6."""
    partial, scanned = parts.partial, total(parts.partial.stats)
    is_partial = len(parts.coverage.answered) < parts.coverage.total
    report = finish_report(parts.question, partial.report, parts.context)
    flags = [
        flag
        for flag, holds in (
            ("INCOMPLETE", report is not None and report.is_incomplete),
            ("PARTIAL", is_partial),
            ("TYPE_MISMATCH", scanned.type_mismatch > 0),
            ("TRUNCATED_BY_RETENTION", scanned.truncated > 0),
            ("UNKNOWN_NAME", bool(parts.warnings)),
        )
        if holds
    ]
    return query_pb2.QueryResponse(
        count=partial.count,
        population=partial.population,
        as_of=to_timestamp(parts.context.as_of_ms),
        tz=parts.context.tz,
        text=print_question(parts.asked),
        breakdown=_breakdown(partial),
        breakdown_rest=partial.rest,
        funnel=_funnel(parts.question, partial),
        coverage=parts.coverage,
        exact=not is_partial and not scanned.truncated,
        flags=flags,
        warnings=[*parts.warnings, *parts.mistyped],
        explanation=_explanation(parts) if parts.explain else [],
        events_scanned=scanned.events,
        bytes_scanned=scanned.bytes,
        milliseconds=monotonic_ms() - parts.clock_ms,
        engine_milliseconds=parts.engine_ms,
        plan_hash=tree_hash(parts.plan),
        rows_scanned=scanned.rows,
        question=to_question(parts.asked),
        used_segments=[segment_pb2.SegmentReference(name=name, version=version) for name, version in parts.used],
        **answer_fields(None if report is None else report.answer),  # type: ignore[arg-type]
    )


def tree_hash(plan: segment_pb2.Question) -> str:
    """Hash that identifies an evaluated question whatever its spelling."""
    return hashlib.blake2b(plan.SerializeToString(deterministic=True), digest_size=8).hexdigest()


def _breakdown(partial: Partial) -> list[query_pb2.BreakdownRow]:
    by_size = sorted(partial.values.items(), key=lambda entry: (-entry[1], entry[0] == NONE_KEY, str(entry[0][1])))
    return [query_pb2.BreakdownRow(value=to_key_value(key), count=size) for key, size in by_size]


def _funnel(question: tree.Question, partial: Partial) -> list[query_pb2.FunnelStep]:
    if not isinstance(question, tree.Funnel):
        return []
    counts = partial.steps or (0,) * len(question.steps)
    return [
        query_pb2.FunnelStep(label=" or ".join(step.names), count=count)
        for step, count in zip(question.steps, counts, strict=True)
    ]


def _explanation(parts: Answering) -> list[query_pb2.StepExplanation]:
    return [
        query_pb2.StepExplanation(
            depth=depth,
            text=text,
            chunks=stats.chunks,
            chunks_pruned=stats.chunks_pruned,
            events=stats.events,
            bytes=stats.bytes,
            rows_true=stats.rows_true,
            type_mismatches=stats.type_mismatch,
            milliseconds=stats.nanoseconds / 1e6,
            rows=stats.rows,
            evaluations=stats.evaluations,
        )
        for number, (depth, text) in enumerate(_described(parts.question))
        for stats in (parts.partial.stats.get(number, NodeStats()),)
    ]


def _described(question: tree.Question, depth: int = 0) -> Iterator[tuple[int, str]]:
    """(nesting, text) of every node in the order in which binding numbers them."""
    whole = question.segment if isinstance(question, tree.Breakdown) else question
    yield depth, print_heading(whole)
    for segment in operands(whole):
        yield from _described(segment, depth + 1)
