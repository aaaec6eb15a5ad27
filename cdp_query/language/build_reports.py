"""lark's tree to ours if the whole text is a report."""

from __future__ import annotations

from enum import Enum
from typing import Any

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Branch, Part, fail, is_truth
from cdp_query.language.build import Builder
from cdp_query.language.calls import Call
from cdp_query.language.expressions import expression
from cdp_query.language.options import Options
from cdp_query.language.print_reports import EVENT_FORMS, REPORTS, EventForm, Option


class QuestionBuilder(Builder):
    """Builds segments and reports."""

    _reports = tuple(sorted(REPORTS))

    def question(self, parsed: Part) -> tree.Question:
        """A segment, or a report if the whole text is one."""
        match parsed:
            case Branch("call", [name, *arguments]) if name == "funnel":
                return self._funnel(Call(name, arguments))
            case Branch("call", [name, *arguments]) if name in REPORTS:
                return self._report(Call(name, arguments, example=REPORTS[name].EXAMPLE))
        return super().question(parsed)

    def _report(self, call: Call) -> tree.Report:
        form = EVENT_FORMS.get(REPORTS[call.name])
        return self._of_segments(call) if form is None else self._of_events(call, form)

    def _of_events(self, call: Call, form: EventForm) -> tree.Report:
        """A report over the events of a window, by the fields of its dataclass."""
        events, prop, options = self.events(call)
        values: dict[str, Any] = {one.field.name: self._option(call, options, one) for one in form.options}
        window = options.window(length=form.length)
        options.finish()
        missing = [f"{one.name}:" for one in form.options if one.is_required and values[one.field.name] is None]
        if missing:
            call.wrong(f"needs {' and '.join(missing)}" + (" as well" if len(missing) == 1 else ""))
        if form.property is not None:
            if prop is None and form.property.is_required:
                call.wrong(f"needs a property for the {form.property.name}")
            values[form.property.field.name] = prop
        elif prop is not None:
            call.fail("takes no property")
        given = {name: value for name, value in values.items() if value is not None}
        report: tree.Report = form.kind(**{form.events: events}, window=window, **given)
        return report

    def _option(self, call: Call, options: Options, option: Option) -> Any:
        """The value of an option by its type; None if it is not given."""
        name = option.name
        if option.kind is tree.Events:
            found = options.event(name)
            return None if found is None else self.event(found, ())
        if option.kind is str:
            return self._unit(call, options)
        if option.kind is int:
            return options.whole_number(name)
        if isinstance(option.kind, type) and issubclass(option.kind, Enum):
            word = options.word(name, [member.value for member in option.kind])
            return None if word is None else option.kind(word)
        return options.names(name) if option.kind == tuple[str, ...] else options.duration(name)

    def _funnel(self, call: Call) -> tree.Funnel:
        steps, without, options = self.steps(call)
        window, within, strict, rules = self.sequence_options(options, without)
        mode = options.word("mode", [mode.value for mode in tree.AttemptMode])
        by_attribute, by_entry = options.plain_name("by"), options.plain_name("by_entry")
        with_times = options.word("times", ("on", "off")) == "on"
        options.finish()
        return tree.Funnel(
            steps,
            window,
            within,
            strict,
            rules,
            tree.AttemptMode(mode or "deepest"),
            by_attribute,
            by_entry,
            with_times,
        )

    def _of_segments(self, call: Call) -> tree.Report:
        chain, parts, options = self.split(call)
        if chain is not None:
            fail(chain, f"{call.name}(...) takes segments, not events", f"as in {call.example}")
        if call.name == "overlap":
            options.finish()
            return tree.Overlap(tuple(self.node(part, in_filter=False) for part in parts))
        wanted = {"diff": 1, "distribution": 2}[call.name]
        if len(parts) != wanted:
            call.wrong("takes other arguments")
        segment = self.node(parts[0], in_filter=False)
        if call.name == "diff":
            window = options.window_alone()
            if not isinstance(window, tree.FromTo):
                call.wrong("needs from: and to:")
            return tree.Diff(segment, window.start, window.end)
        options.finish()
        return tree.Distribution(segment, self._number(call, parts[1]))

    def _number(self, call: Call, part: Part) -> tree.Expression | tree.AttributeNumber:
        match part:
            case Token("NAME", name):
                return tree.AttributeNumber(name)
            case Branch("call", [name, *arguments]) if name == "attr":
                return tree.AttributeNumber(self.subject(Call(name, arguments)))
        if is_truth(part):
            call.wrong("takes a number second")
        return expression(self, part)

    def _unit(self, call: Call, options: Options) -> str:
        unit = options.word("unit", tree.PERIOD_UNITS)
        if unit is None:
            call.wrong("needs unit: day, week or month")
        return unit

    def call(self, call: Call) -> tree.Node:
        """A call inside a segment, where a report is not allowed."""
        if call.name in REPORTS and not call.in_filter:
            fail(call.name, f"a {call.name} is a report and stands alone", f"as in {REPORTS[call.name].EXAMPLE}")
        return super().call(call)
