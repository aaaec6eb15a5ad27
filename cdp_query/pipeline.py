"""The whole path of a question, for reading first: text -> tree -> bound -> plan -> partial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdp_query import tree
from cdp_query.bind.bind import Binder, Findings
from cdp_query.compiled.find_members import find_members
from cdp_query.compiled.report_run import ReportRun
from cdp_query.errors import QueryInvalid
from cdp_query.evaluate.execute import Checkpoint
from cdp_query.language import parse
from cdp_query.partial import Partial, capped
from cdp_query.reports.breakdown import breakdown
from cdp_query.reports.funnel_report import FunnelPart
from cdp_query.reports.registry import check_report, evaluate_report
from cdp_query.reports.value_keys import ValueKey
from cdp_query.rules import rewrite
from cdp_store.memory.view import PartitionView


def prepare(text: str, by: str | None, context: tree.Context) -> tree.Question:
    """Text as typed to a checked, rewritten tree; `by` makes a breakdown of it."""
    return check(read(text, by), context)


def read(text: str, by: str | None) -> tree.Question:
    """Text as typed to a tree that is not checked yet; `by` makes a breakdown of it."""
    return broken_down(parse(text), by)


def segment_of(question: tree.Question) -> tree.Node:
    """The question where it is a segment; QueryInvalid where it is a report."""
    if isinstance(question, tree.Funnel | tree.Breakdown | tree.Report):
        raise QueryInvalid("listing users needs a segment; this is a report")
    return question


def check(question: tree.Question, context: tree.Context) -> tree.Question:
    """A tree from anywhere to a checked, rewritten one; raises QueryInvalid for what has no meaning."""
    check_meaning(question, context)
    return rewrite(question)


def check_meaning(question: tree.Question, context: tree.Context, findings: Findings | None = None) -> None:
    """Raises QueryInvalid for what has no meaning at this instant and in this zone."""
    binder = Binder(context, findings or Findings())
    if isinstance(question, tree.Funnel | tree.Report):
        check_report(question, binder)
    else:
        binder.check(question)


def evaluate(
    question: tree.Question, view: PartitionView, binder: Binder, checkpoint: Checkpoint = lambda: None
) -> Partial:
    """The contribution of one partition to the answer."""
    return evaluate_all(question, [view], binder, checkpoint)


def evaluate_all(
    question: tree.Question, views: Sequence[PartitionView], binder: Binder, checkpoint: Checkpoint = lambda: None
) -> Partial:
    """The contribution of some partitions to the answer."""
    if isinstance(question, tree.Funnel | tree.Report):
        return _reported(question, views, binder, checkpoint)
    segment = question.segment if isinstance(question, tree.Breakdown) else question
    found, names = find_members(segment, views, binder, checkpoint), binder.names(question)
    population, count = (sum(sizes) for sizes in zip(*found.counts, strict=True))
    known = names.known_to(*(view.schema for view in views))
    values, rest = dict[ValueKey, int](), 0
    if isinstance(question, tree.Breakdown):
        values, rest = breakdown(views, found.masks, question.attribute, binder.context.as_of_ms, capped)
    return Partial(population, count, values=values, known=known, stats=found.stats, rest=rest)


def _reported(
    question: tree.Funnel | tree.Report, views: Sequence[PartitionView], binder: Binder, checkpoint: Checkpoint
) -> Partial:
    run = ReportRun.of(question, views, binder, checkpoint)
    count, part = evaluate_report(question, run)
    known = binder.names(question).known_to(*(view.schema for view in views))
    steps = part.whole.steps if isinstance(part, FunnelPart) else ()
    return Partial(run.size(), count, steps, known=known, stats=run.meter.nodes(), report=part)


def broken_down(question: tree.Question, by: str | None) -> tree.Question:
    """The question, or where `by` names an attribute its members counted by that."""
    if by is None:
        return question
    if isinstance(question, tree.Funnel) and question.by_attribute is None:
        return replace(question, by_attribute=by)
    if isinstance(question, tree.Funnel | tree.Breakdown | tree.Report):
        if isinstance(question, tree.Funnel):
            raise QueryInvalid(f"the funnel is broken down by {question.by_attribute!r} already; give one attribute")
        raise QueryInvalid("a breakdown by an attribute takes a segment or a funnel")
    return tree.Breakdown(question, by)
