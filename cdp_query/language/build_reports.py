"""lark's tree to ours where the whole text is a report."""

from __future__ import annotations

from typing import Final

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Branch, Part, fail, is_truth
from cdp_query.language.build import Builder
from cdp_query.language.calls import Call
from cdp_query.language.expressions import expression
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

    def question(self, parsed: Part) -> tree.Question:
        """A segment, or a report where the whole text is one."""
        match parsed:
            case Branch("call", [name, *arguments]) if name == "funnel":
                return self._funnel(Call(name, arguments))
            case Branch("call", [name, *arguments]) if name in _EXAMPLES:
                return self._report(Call(name, arguments, example=_EXAMPLES[name]))
        return super().question(parsed)

    def _report(self, call: Call) -> tree.Report:
        if call.name in ("overlap", "diff", "distribution"):
            return self._of_segments(call)
        events, prop, options = self.events(call)
        if call.name == "rfm":
            window = options.window_alone()
            if prop is None:
                call.wrong("needs a property for the money")
            return tree.Rfm(events, prop, window)
        if call.name == "trend":
            return self._trend(call, events, prop, options)
        if prop is not None:
            call.fail("takes no property")
        return self._flow(call, events, options) if call.name == "flow" else self._retention(call, events, options)

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

    def _trend(self, call: Call, events: tree.Events, prop: str | None, options: Options) -> tree.Trend:
        report = tree.Trend(events, self._unit(call, options), options.window(), prop)
        options.finish()
        return report

    def _retention(self, call: Call, entry: tree.Events, options: Options) -> tree.Retention:
        unit, returns, periods = self._unit(call, options), options.event("return"), options.whole_number("periods")
        start, mode = options.word("start", tuple(_STARTS)), options.word("mode", tuple(_MODES))
        window = options.window()
        options.finish()
        if returns is None or periods is None:
            call.wrong("needs return: and periods:")
        return tree.Retention(
            entry,
            self.event(returns, ()),
            unit,
            periods,
            window,
            _STARTS.get(start or "", tree.PeriodStart.ROLLING),
            _MODES.get(mode or "", tree.ReturnMode.ON),
        )

    def _flow(self, call: Call, events: tree.Events, options: Options) -> tree.Flow:
        depth, window = options.whole_number("depth"), options.window(length="for")
        within, only = options.duration("within"), options.names("only")
        direction, anchor = options.word("direction", tuple(_DIRECTIONS)), options.word("anchor", tuple(_ANCHORS))
        options.finish()
        if depth is None:
            call.wrong("needs depth: as well")
        return tree.Flow(
            events,
            depth,
            window,
            within,
            _DIRECTIONS.get(direction or "", tree.FlowDirection.AFTER),
            _ANCHORS.get(anchor or "", tree.FlowAnchor.FIRST),
            only,
        )

    def _unit(self, call: Call, options: Options) -> str:
        unit = options.word("unit", tree.PERIOD_UNITS)
        if unit is None:
            call.wrong("needs unit: day, week or month")
        return unit

    def call(self, call: Call) -> tree.Node:
        """A call inside a segment, where no report can stand."""
        if call.name in _EXAMPLES and not call.in_filter:
            fail(call.name, f"a {call.name} is a report and stands alone", f"as in {_EXAMPLES[call.name]}")
        return super().call(call)
