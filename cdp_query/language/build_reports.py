"""Syntax to tree where the whole text is a report."""

from __future__ import annotations

from typing import Final

from cdp_query import tree
from cdp_query.language import syntax
from cdp_query.language.build import Builder
from cdp_query.language.options import Options

_EXAMPLES: Final = {
    "trend": 'trend("Charged", unit: day, last: 90d)',
    "overlap": 'overlap(plan = "gold", did("Charged"))',
    "diff": 'diff(plan = "gold", from: 2026-01-01, to: 2026-02-01)',
    "distribution": 'distribution(plan = "gold", count("Charged", last: 30d))',
    "rfm": 'rfm("Charged".amount, last: 365d)',
    "flow": 'flow("Signup", depth: 3, within: 7d, last: 90d)',
    "retention": 'retention("Signup", return: "Charged", unit: week, periods: 8, last: 90d)',
}
_STARTS: Final = {start.value: start for start in tree.PeriodStart}
_MODES: Final = {mode.value: mode for mode in tree.ReturnMode}
_DIRECTIONS: Final = {direction.value: direction for direction in tree.FlowDirection}
_ANCHORS: Final = {anchor.value: anchor for anchor in tree.FlowAnchor}


class QuestionBuilder(Builder):
    """Builds segments and reports."""

    _reports = tuple(sorted(_EXAMPLES))

    def question(self, parsed: syntax.Syntax) -> tree.Question:
        """A segment, or a report where the whole text is one."""
        match parsed:
            case syntax.PredicateSyntax(syntax.CallSyntax(name="funnel") as call, None):
                return self._funnel(call)
            case syntax.PredicateSyntax(syntax.CallSyntax() as call, None) if call.name in _EXAMPLES:
                return self._report(call)
        return super().question(parsed)

    def _report(self, call: syntax.CallSyntax) -> tree.Report:
        if call.name in ("overlap", "diff", "distribution"):
            return self._of_segments(call)
        events, prop, options = self._events(call)
        if call.name == "rfm":
            window = options.window()
            options.finish()
            if prop is None:
                self._fail(call.place, "rfm(...) needs a property for the money", f"as in {_EXAMPLES['rfm']}")
            return tree.Rfm(events, prop, window)
        if call.name == "trend":
            return self._trend(call, events, prop, options)
        self._no_property(call, prop)
        return self._flow(call, events, options) if call.name == "flow" else self._retention(call, events, options)

    def _funnel(self, call: syntax.CallSyntax) -> tree.Funnel:
        steps, without, options = self._steps(call)
        window, within, strict, rules = self._sequence_options(options, without)
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

    def _of_segments(self, call: syntax.CallSyntax) -> tree.Report:
        chain, parts, options = self._split(call)
        if chain is not None:
            self._fail(chain.place, f"{call.name}(...) takes segments, not events", f"as in {_EXAMPLES[call.name]}")
        if call.name == "overlap":
            options.finish()
            return tree.Overlap(tuple(self._node(part, in_filter=False) for part in parts))
        wanted = {"diff": 1, "distribution": 2}[call.name]
        if len(parts) != wanted:
            self._fail(call.place, f"{call.name}(...) takes other arguments", f"as in {_EXAMPLES[call.name]}")
        segment = self._node(parts[0], in_filter=False)
        if call.name == "diff":
            window = options.window()
            options.finish()
            if not isinstance(window, tree.FromTo):
                self._fail(call.place, "diff(...) needs from: and to:", f"as in {_EXAMPLES['diff']}")
            return tree.Diff(segment, window.start, window.end)
        options.finish()
        return tree.Distribution(segment, self._number(call, parts[1]))

    def _number(self, call: syntax.CallSyntax, part: syntax.Syntax) -> tree.Expression | tree.AttributeNumber:
        match part:
            case syntax.PredicateSyntax(syntax.NameSyntax(name), None):
                return tree.AttributeNumber(name)
            case syntax.PredicateSyntax(syntax.CallSyntax(name="attr") as inner, None):
                return tree.AttributeNumber(self._subject(inner, in_filter=False))
            case syntax.PredicateSyntax(operand, None):
                return self._expressions.expression(operand)
        self._fail(call.place, f"{call.name}(...) takes a number second", f"as in {_EXAMPLES[call.name]}")

    def _trend(self, call: syntax.CallSyntax, events: tree.Events, prop: str | None, options: Options) -> tree.Trend:
        report = tree.Trend(events, self._unit(call, options), options.window(), prop)
        options.finish()
        return report

    def _retention(self, call: syntax.CallSyntax, entry: tree.Events, options: Options) -> tree.Retention:
        unit, returns, periods = self._unit(call, options), options.event("return"), options.whole_number("periods")
        start, mode = options.word("start", tuple(_STARTS)), options.word("mode", tuple(_MODES))
        window = options.window()
        options.finish()
        if returns is None or periods is None:
            self._fail(call.place, "retention(...) needs return: and periods:", f"as in {_EXAMPLES['retention']}")
        return tree.Retention(
            entry,
            self._event(returns, ()),
            unit,
            periods,
            window,
            _STARTS.get(start or "", tree.PeriodStart.ROLLING),
            _MODES.get(mode or "", tree.ReturnMode.ON),
        )

    def _flow(self, call: syntax.CallSyntax, events: tree.Events, options: Options) -> tree.Flow:
        depth, window = options.whole_number("depth"), options.window(length="for")
        within, only = options.duration("within"), options.names("only")
        direction, anchor = options.word("direction", tuple(_DIRECTIONS)), options.word("anchor", tuple(_ANCHORS))
        options.finish()
        if depth is None:
            self._fail(call.place, "flow(...) needs depth: as well", f"as in {_EXAMPLES['flow']}")
        return tree.Flow(
            events,
            depth,
            window,
            within,
            _DIRECTIONS.get(direction or "", tree.FlowDirection.AFTER),
            _ANCHORS.get(anchor or "", tree.FlowAnchor.FIRST),
            only,
        )

    def _unit(self, call: syntax.CallSyntax, options: Options) -> str:
        unit = options.word("unit", tree.PERIOD_UNITS)
        if unit is None:
            self._fail(call.place, f"{call.name}(...) needs unit: day, week or month", f"as in {_EXAMPLES[call.name]}")
        return unit

    def _call(self, call: syntax.CallSyntax, condition: tree.Condition | None, *, in_filter: bool) -> tree.Node:
        if call.name in _EXAMPLES and not in_filter:
            self._fail(call.place, f"a {call.name} is a report and stands alone", f"as in {_EXAMPLES[call.name]}")
        return super()._call(call, condition, in_filter=in_filter)
