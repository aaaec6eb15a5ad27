"""Reports to canonical text, which `parse` turns into the same tree, and their form by the fields of the tree."""

from __future__ import annotations

import enum
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Final, get_args, get_type_hints

from cdp_query import tree
from cdp_query.language.printing import (
    print_arguments,
    print_attribute,
    print_events,
    print_expression,
    print_names,
    print_segment,
)
from cdp_query.tree.mentions import FIELDS, NameKind

_OPTION_NAMES: Final = {"returns": "return"}


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a report: its field, and its type."""

    field: Field[Any]
    kind: Any

    @property
    def name(self) -> str:
        """The option's name in the text."""
        return _OPTION_NAMES.get(self.field.name, self.field.name)

    @property
    def is_required(self) -> bool:
        """True if the report is meaningless without it."""
        return self.field.default is MISSING


@dataclass(frozen=True, slots=True)
class EventForm:
    """The form of a report over the events of a window: events, with a property if it has one, then options.

    `length` is the option for how long after the `of_first` a window reaches.
    """

    kind: Any
    events: str
    property: Option | None
    options: tuple[Option, ...]
    length: str

    @staticmethod
    def of(kind: Any) -> EventForm:
        """The form that follows from the fields of a report."""
        first, *rest = (Option(field, get_type_hints(kind)[field.name]) for field in fields(kind))
        named = [one for one in rest if FIELDS.get((kind, one.field.name)) is NameKind.PROPERTY]
        options = tuple(one for one in rest if one not in named and one.field.name != "window")
        length = "for" if any(one.name == "within" for one in options) else "within"
        return EventForm(kind, first.field.name, named[0] if named else None, options, length)

    def print(self, report: Any) -> str:
        """Canonical text of a report of this kind; defaults are left out."""
        given = [(one.name, getattr(report, one.field.name), one.field.default) for one in self.options]
        extra = [f"{name}: {_print_option(value)}" for name, value, usual in given if value != usual]
        prop = None if self.property is None else getattr(report, self.property.field.name)
        arguments = print_arguments(getattr(report, self.events), prop, report.window, extra, self.length)
        return f"{self.kind.__name__.lower()}({arguments})"


REPORTS: Final[dict[str, Any]] = {kind.__name__.lower(): kind for kind in get_args(tree.Report)}
EVENT_FORMS: Final = {
    kind: EventForm.of(kind) for kind in REPORTS.values() if "window" in {field.name for field in fields(kind)}
}


def print_question(question: tree.Question) -> str:
    """Canonical text of a question; a Breakdown prints as its segment."""
    match question:
        case tree.Overlap(segments):
            return f"overlap({', '.join(map(print_segment, segments))})"
        case tree.Diff(segment, start, end):
            return f"diff({print_segment(segment)}, from: {start.iso}, to: {end.iso})"
        case tree.Distribution(segment, number):
            return f"distribution({print_segment(segment)}, {_number(number)})"
    if isinstance(question, tree.Report):
        return EVENT_FORMS[type(question)].print(question)
    return print_segment(question)


def print_heading(question: tree.Question) -> str:
    """Text of a part of a question whose segments are listed below it."""
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


def _print_option(value: Any) -> str:
    match value:
        case enum.Enum():
            return str(value.value)
        case tree.Events():
            return print_events(value)
        case tuple():
            return print_names(value)
    return str(value)
