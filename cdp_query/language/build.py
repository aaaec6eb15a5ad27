"""lark's tree to ours: the existing functions, options and conditions, and their meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lark import Token

from cdp_query import tree
from cdp_query.language.advice import advice_on_call
from cdp_query.language.branches import Behind, Branch, Part, condition, fail, is_test, is_truth
from cdp_query.language.calls import AGGREGATES, EVERYBODY, ITEM_CALLS, Call, Reader
from cdp_query.language.event_calls import EVENT_CALLS, TIME_CALLS, event_call
from cdp_query.language.expressions import MEASURES, comparison, comparison_hint
from cdp_query.language.options import Options
from cdp_query.language.profile_calls import HISTORY_CALLS, VALUE_CALLS, profile_call
from cdp_query.language.suggest import nearest_hint

_OCCURRENCES: Final = {occurrence.value: occurrence for occurrence in tree.Occurrence}
_ONLY_MEASURED: Final = frozenset(MEASURES) - {"count", *AGGREGATES}
_FUNCTIONS: Final = (
    "did",
    *dict.fromkeys(("count", *AGGREGATES, *MEASURES)),
    *_OCCURRENCES,
    *EVENT_CALLS,
    "sequence",
    "funnel",
    "exists",
    "missing",
    "size",
    "attr",
    "everyone",
    *VALUE_CALLS,
    *ITEM_CALLS,
    *HISTORY_CALLS,
    "in_segment",
)
_FILTER_FUNCTIONS: Final = ("exists", "missing", "size", "prop", *TIME_CALLS, *VALUE_CALLS, *ITEM_CALLS)


class Builder(Reader):
    """Builds segments."""

    _reports: tuple[str, ...] = ()  # a name that may take the place of a segment

    def question(self, parsed: Part) -> tree.Question:
        """A segment."""
        return self.node(parsed, in_filter=False)

    def node(self, part: Part, *, in_filter: bool) -> tree.Node:
        """A segment, or a filter of an event or item."""
        match part:
            case Branch("all_of", items):
                return tree.All(tuple(self.node(item, in_filter=in_filter) for item in items))
            case Branch("any_of", items):
                return tree.Any(tuple(self.node(item, in_filter=in_filter) for item in items))
            case Branch("not_of", [item]):
                return tree.Not(self.node(item, in_filter=in_filter))
            case Branch("predicate", [operand, behind]):
                return self._predicate(operand, condition(behind), in_filter=in_filter)
        return self._predicate(part, None, in_filter=in_filter)

    def _predicate(self, operand: Part, behind: Behind, *, in_filter: bool) -> tree.Node:
        if is_truth(operand):
            fail(operand, "what is true or false takes no further condition")
        match operand:
            case Branch("call", [name, *arguments]):
                call = Call(name, arguments, behind, in_filter)
                if name in (TIME_CALLS if in_filter else EVENT_CALLS):
                    return event_call(self, call)
                if not isinstance(behind, Branch) and (in_filter or name not in _ONLY_MEASURED):
                    return self.call(call)
            case Token("NAME") if not isinstance(behind, Branch):
                return self._word(operand, behind, in_filter=in_filter)
        if isinstance(behind, Branch) and behind.data == "span":
            fail(behind, "only hour() lies in a range", "write between a and b")
        if in_filter:
            at = behind.children[1] if isinstance(behind, Branch) else operand
            fail(
                at,
                "inside an event filter a property is compared with a literal",
                "a string is written in double quotes",
            )
        return comparison(self, operand, behind)

    def _word(self, word: Token, behind: tree.Infix | None, *, in_filter: bool) -> tree.Node:
        name = str(word)
        if behind is None:
            if name == "everyone" and not in_filter:
                return tree.Everyone()
            everybody = name.casefold() in EVERYBODY and not in_filter
            hint = "all users are everyone" if everybody else f"write a condition, such as {name} = ..."
            fail(word, f"{name!r} stands alone", hint)
        if in_filter:
            return tree.PropertyTest(name, behind)
        return _bucket(word, behind) if name == "bucket" else tree.AttributeTest(name, behind)

    def call(self, call: Call) -> tree.Node:
        """A call that is true or false, or one whose value is compared with a literal."""
        if call.name in ("attr", "prop"):
            name = self.subject(call)
            if call.condition is None:
                call.fail("stands alone", "write a condition after it")
            assert not isinstance(call.condition, Branch)
            return call.test(name, call.condition)
        if call.name in ("exists", "missing", "size"):
            return self._about_subject(call)
        if call.name in ITEM_CALLS:
            return self._items(call)
        if call.name in VALUE_CALLS or (call.name in HISTORY_CALLS and not call.in_filter):
            return profile_call(self, call)
        if call.in_filter or call.name not in _FUNCTIONS:
            known = _FILTER_FUNCTIONS if call.in_filter else _FUNCTIONS
            where = " inside an event filter" if call.in_filter and call.name in _FUNCTIONS else ""
            alone = () if call.in_filter else self._reports
            hint = advice_on_call(call.name) or nearest_hint(call.name, (*known, *alone))
            reports = f"; reports: {', '.join(alone)}" if alone else ""
            hint = hint or f"known functions{where or ' here'}: {', '.join(known)}{reports}"
            call.fail(f"is not a function that can be used here{where}", hint)
        if call.name in ("did", "sequence", "funnel", "everyone", "in_segment") or call.name in _OCCURRENCES:
            return self._truth(call)
        return self._measure(call)

    def _items(self, call: Call) -> tree.Node:
        example = f'as in {call.name}(items, sku = "a" and qty >= 2)'
        if call.condition is not None:
            call.fail("is true or false and takes no comparison", example)
        filters = list[tree.Node]()
        for argument in call.arguments[1:]:
            if not is_test(argument):
                fail(argument, f"{call.name}(...) takes conditions on the fields of an item", example)
            filters.append(self.node(argument, in_filter=True))
        if not filters:
            call.fail("takes a list and conditions on its items", example)
        name = self.single_subject(replace(call, arguments=call.arguments[:1]))
        where = filters[0] if len(filters) == 1 else tree.All(tuple(filters))
        return call.test(name, tree.ItemsTest(ITEM_CALLS[call.name], where))

    def _about_subject(self, call: Call) -> tree.Node:
        name = self.single_subject(call)
        match call.name, call.condition:
            case "size", tree.Compare(op, int() as size, False) if not isinstance(size, bool):
                return call.test(name, tree.SizeTest(op, size))
            case "size", _:
                call.fail("needs a comparison with a whole number", "as in size(tags) >= 2")
            case _, None:
                return call.test(name, tree.Exists(negated=call.name == "missing"))
        call.fail("takes no comparison")

    def _truth(self, call: Call) -> tree.Node:
        if call.condition is not None:
            call.fail("is true or false and takes no comparison")
        if call.name == "everyone":
            if call.arguments:
                fail(call.name, "everyone takes no arguments", "use did(...) for users who did something")
            return tree.Everyone()
        if call.name == "funnel":
            fail(call.name, "a funnel is a report and stands alone", "use sequence(...) inside a segment")
        if call.name == "in_segment":
            return self._in_segment(call)
        if call.name == "sequence":
            steps, without, options = self.steps(call)
            sequence = tree.SequenceTest(steps, *self.sequence_options(options, without))
            options.finish()
            return sequence
        events, options = self.events_alone(call)
        window = options.window_alone()
        if call.name in _OCCURRENCES:
            if isinstance(window, tree.Always):
                call.fail("needs a window", f'as in {call.name}("Signup", last: 30d)')
            return tree.OccurrenceTest(_OCCURRENCES[call.name], events, window)
        return tree.Did(events, window)

    def _in_segment(self, call: Call) -> tree.Node:
        event, filters, options = self.split(call)
        match event:
            case Branch("event", [Token(value=name), None, None]) if not filters:
                version = options.whole_number("version")
                options.finish()
                return tree.InSegment(name, version)
        call.fail("takes the name of a segment", 'as in in_segment("vip")')

    def _measure(self, call: Call) -> tree.Node:
        match call.condition:
            case tree.Compare(op, (int() | float()) as number, ci) if not isinstance(number, bool):
                if ci:
                    fail(call.name, "ci compares strings; a number has no case")
            case behind:
                call.fail("needs a comparison with a number", comparison_hint(call.name, behind))
        events, prop, options = self.events(call)
        window = options.window()
        exclude_zero = options.word("zero", ("exclude", "include")) == "exclude" if call.name == "count" else False
        options.finish()
        if call.name == "count":
            if prop is not None:
                call.fail("takes no property")
            return tree.CountTest(events, window, op, number, exclude_zero)
        if prop is None:
            call.fail("needs a property", f'as in {call.name}("Charged".amount)')
        return tree.AggregateTest(AGGREGATES[call.name], prop, events, window, op, number)

    @staticmethod
    def sequence_options(
        options: Options, without: tuple[tree.Exclusion, ...]
    ) -> tuple[tree.Window, tree.Duration | None, bool, tree.AttemptRules]:
        """Window, time limit, ties and rules of a sequence or funnel."""
        window = options.window(length="for")
        within, within_each = options.duration("within"), options.duration("within_each")
        strict = options.word("tie", ("strict", "ordered")) == "strict"
        order = options.word("order", [order.value for order in tree.StepOrder])
        rules = tree.AttemptRules(within_each, tree.StepOrder(order or "ordered"), options.plain_name("hold"), without)
        return window, within, strict, rules


def _bucket(word: Token, behind: tree.Infix) -> tree.Node:
    match behind:
        case tree.Between(int() as first, int() as last) if bool not in (type(first), type(last)):
            return tree.BucketTest(first, last)
        case tree.Compare(tree.Op.EQ, int() as only) if not isinstance(only, bool):
            return tree.BucketTest(only, only)
    hint = 'as in bucket between 0 and 99; an attribute of this name is attr("bucket")'
    fail(word, "bucket takes numbers from 0 to 999", hint)
