"""Merged contributions to the answer a client sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdp.v1 import query_pb2, segment_pb2

from cdp_query import tree
from cdp_query.language import print_heading
from cdp_query.partial import Partial
from cdp_query.reports.registry import finish_report
from cdp_query.reports.value_keys import NONE_KEY
from cdp_query.stats import NodeStats, total
from cdp_query.tree.walk import operands
from cdp_router.contract.key_values import to_key_value
from cdp_router.contract.report_codec import answer_fields
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import monotonic_ms
from cdp_router.questions.question_reading import Asked


@dataclass(frozen=True, slots=True)
class Answering:
    """All an answer is made of; `clock_ms` is the monotonic clock when the question came in."""

    asked: Asked
    partial: Partial
    coverage: query_pb2.Coverage
    warnings: Sequence[str]
    mistyped: Sequence[str]
    explain: bool
    clock_ms: float
    engine_ms: float


def answer(parts: Answering) -> query_pb2.QueryResponse:
    """The reply of semantics.md, section 6."""
    said, context = parts.asked.said, parts.asked.context
    partial, scanned = parts.partial, total(parts.partial.stats)
    is_partial = len(parts.coverage.answered) < parts.coverage.total
    report = finish_report(said.question, partial.report, context)
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
        as_of=to_timestamp(context.as_of_ms),
        tz=context.tz,
        text=said.text,
        breakdown=_breakdown(partial) if partial.values else None,
        breakdown_rest=partial.rest,
        funnel=_funnel(said.question, partial) if isinstance(said.question, tree.Funnel) else None,
        coverage=parts.coverage,
        exact=not is_partial and not scanned.truncated,
        flags=flags or None,
        warnings=[*parts.warnings, *parts.mistyped],
        explanation=_explanation(parts) if parts.explain else None,
        events_scanned=scanned.events,
        bytes_scanned=scanned.bytes,
        milliseconds=monotonic_ms() - parts.clock_ms,
        engine_milliseconds=parts.engine_ms,
        plan_hash=said.plan_hash,
        rows_scanned=scanned.rows,
        question=said.message,
        used_segments=[segment_pb2.SegmentReference(name=name, version=version) for name, version in parts.asked.used],
        **answer_fields(None if report is None else report.answer),  # type: ignore[arg-type]
    )


def _breakdown(partial: Partial) -> list[query_pb2.BreakdownRow]:
    by_size = sorted(partial.values.items(), key=lambda entry: (-entry[1], entry[0] == NONE_KEY, str(entry[0][1])))
    return [query_pb2.BreakdownRow(value=to_key_value(key), count=size) for key, size in by_size]


def _funnel(question: tree.Funnel, partial: Partial) -> list[query_pb2.FunnelStep]:
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
        for number, (depth, text) in enumerate(_described(parts.asked.said.question))
        for stats in (parts.partial.stats.get(number, NodeStats()),)
    ]


def _described(question: tree.Question, depth: int = 0) -> Iterator[tuple[int, str]]:
    """(nesting, text) of every node in the order in which binding numbers them."""
    whole = question.segment if isinstance(question, tree.Breakdown) else question
    yield depth, print_heading(whole)
    for segment in operands(whole):
        yield from _described(segment, depth + 1)
