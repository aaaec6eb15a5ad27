"""Reports to canonical text: `parse` of it gives the same tree back."""

from __future__ import annotations

from cdp_query import tree
from cdp_query.language.printing import (
    print_arguments,
    print_attribute,
    print_events,
    print_expression,
    print_names,
    print_segment,
)


def print_question(question: tree.Question) -> str:
    """Canonical text of a question; a Breakdown prints as its segment."""
    match question:
        case tree.Trend(events, unit, window, prop):
            return f"trend({print_arguments(events, prop, window, [f'unit: {unit}'])})"
        case tree.Retention():
            return f"retention({print_arguments(question.entry, None, question.window, _retention(question))})"
        case tree.Overlap(segments):
            return f"overlap({', '.join(map(print_segment, segments))})"
        case tree.Diff(segment, start, end):
            return f"diff({print_segment(segment)}, from: {start.iso}, to: {end.iso})"
        case tree.Distribution(segment, number):
            return f"distribution({print_segment(segment)}, {_number(number)})"
        case tree.Flow():
            arguments = print_arguments(question.events, None, question.window, _flow(question), length="for")
            return f"flow({arguments})"
        case tree.Rfm(events, money, window):
            return f"rfm({print_arguments(events, money, window)})"
    return print_segment(question)


def print_heading(question: tree.Question) -> str:
    """Text of a part of a question where the segments inside it are listed below."""
    match question:
        case tree.All():
            return "all of"
        case tree.Any():
            return "any of"
        case tree.Not():
            return "not"
        case tree.Overlap(segments):
            return f"overlap of {len(segments)} segments"
        case tree.Diff(_, start, end):
            return f"difference from {start.iso} to {end.iso}"
    return print_question(question)


def _number(number: tree.Expression | tree.AttributeNumber) -> str:
    return print_attribute(number.name) if isinstance(number, tree.AttributeNumber) else print_expression(number)


def _flow(report: tree.Flow) -> list[str]:
    options = [f"depth: {report.depth}"]
    if report.within is not None:
        options.append(f"within: {report.within}")
    if report.direction is not tree.FlowDirection.AFTER:
        options.append(f"direction: {report.direction.value}")
    if report.anchor is not tree.FlowAnchor.FIRST:
        options.append(f"anchor: {report.anchor.value}")
    return [*options, f"only: {print_names(report.only)}"] if report.only else options


def _retention(report: tree.Retention) -> list[str]:
    options = [f"return: {print_events(report.returns)}", f"unit: {report.unit}", f"periods: {report.periods}"]
    if report.start is not tree.PeriodStart.ROLLING:
        options.append(f"start: {report.start.value}")
    if report.mode is not tree.ReturnMode.ON:
        options.append(f"mode: {report.mode.value}")
    return options
