"""Syntax to tree: which functions, options and conditions exist and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.advice import advice_on_call
from cdp_query.language.event_calls import EVENT_CALLS, TIME_CALLS, EventCalls
from cdp_query.language.expressions import MEASURES, ExpressionBuilder, comparison_hint
from cdp_query.language.options import Options
from cdp_query.language.profile_calls import HISTORY_CALLS, VALUE_CALLS, ProfileCalls
from cdp_query.language.suggest import nearest_hint

_AGGREGATES: Final = {aggregate.value: aggregate for aggregate in tree.Aggregate}
_OCCURRENCES: Final = {occurrence.value: occurrence for occurrence in tree.Occurrence}
_ONLY_MEASURED: Final = frozenset(MEASURES) - {"count", *_AGGREGATES}
_ITEM_CALLS: Final = {op.value: op for op in tree.ItemsOp}
_FUNCTIONS: Final = (
    "did",
    *dict.fromkeys(("count", *_AGGREGATES, *MEASURES)),
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
    *_ITEM_CALLS,
    *HISTORY_CALLS,
    "in_segment",
)
_FILTER_FUNCTIONS: Final = ("exists", "missing", "size", "prop", *TIME_CALLS, *VALUE_CALLS, *_ITEM_CALLS)
_EVERYBODY: Final = ("all", "any", "anyone", "everybody", "users")
_SEVERAL_NAMES: Final = "several names go into [...]"
_HINTS_ON_EVENTS: Final = {
    **dict.fromkeys(("sequence", "funnel"), 'steps are joined by ->, as in "A" -> "B"'),
    "retention": 'what users come back for stands behind return:, as in return: "Charged"',
}


class Builder:
    """Builds the tree of one text; keeps the text for error messages."""

    _reports: tuple[str, ...] = ()  # that may stand in the place of a segment

    def __init__(self, text: str) -> None:
        self._text = text
        self._expressions = ExpressionBuilder(text, self._events)
        self._event_calls = EventCalls(text, self._events, self._filter)

    def question(self, parsed: syntax.Syntax) -> tree.Question:
        """A segment."""
        return self._node(parsed, in_filter=False)

    def _node(self, parsed: syntax.Syntax, *, in_filter: bool) -> tree.Node:
        match parsed:
            case syntax.AllSyntax(items):
                return tree.All(tuple(self._node(item, in_filter=in_filter) for item in items))
            case syntax.AnySyntax(items):
                return tree.Any(tuple(self._node(item, in_filter=in_filter) for item in items))
            case syntax.NotSyntax(item):
                return tree.Not(self._node(item, in_filter=in_filter))
            case syntax.PredicateSyntax(operand, condition):
                return self._predicate(operand, condition, in_filter=in_filter)

    def _predicate(
        self, operand: syntax.OperandSyntax, condition: syntax.ConditionSyntax | None, *, in_filter: bool
    ) -> tree.Node:
        match operand:
            case syntax.GroupSyntax() | syntax.DurationSyntax():
                self._fail(operand.place, "what is true or false takes no further condition")
            case syntax.CallSyntax(name) if name in TIME_CALLS and in_filter:
                return self._event_calls.time_filter(operand, condition)
            case syntax.CallSyntax(name) if name in EVENT_CALLS and not in_filter:
                return self._event_calls.build(operand, condition)
        if isinstance(condition, syntax.SpanSyntax):
            self._fail(condition.place, "only hour() lies in a range", "write between a and b")
        if not isinstance(condition, syntax.CompareSyntax):
            if isinstance(operand, syntax.NameSyntax):
                return self._word(operand, condition, in_filter=in_filter)
            if isinstance(operand, syntax.CallSyntax) and (in_filter or operand.name not in _ONLY_MEASURED):
                return self._call(operand, condition, in_filter=in_filter)
        if in_filter:
            place = condition.right.place if isinstance(condition, syntax.CompareSyntax) else operand.place
            hint = "a string stands in double quotes"
            self._fail(place, "inside an event filter a property is compared with a literal", hint)
        return self._expressions.test(operand, condition)

    def _word(self, word: syntax.NameSyntax, condition: tree.Condition | None, *, in_filter: bool) -> tree.Node:
        if condition is None:
            if word.name == "everyone" and not in_filter:
                return tree.Everyone()
            everybody = word.name.casefold() in _EVERYBODY and not in_filter
            hint = "all users are everyone" if everybody else f"write a condition, such as {word.name} = ..."
            self._fail(word.place, f"{word.name!r} stands alone", hint)
        if word.name == "bucket" and not in_filter:
            return self._bucket(word, condition)
        return self._subject_test(word.name, condition, in_filter=in_filter)

    def _bucket(self, word: syntax.NameSyntax, condition: tree.Condition) -> tree.Node:
        match condition:
            case tree.Between(int() as first, int() as last) if bool not in (type(first), type(last)):
                return tree.BucketTest(first, last)
            case tree.Compare(tree.Op.EQ, int() as only) if not isinstance(only, bool):
                return tree.BucketTest(only, only)
        hint = 'as in bucket between 0 and 99; an attribute of this name is attr("bucket")'
        self._fail(word.place, "bucket takes numbers from 0 to 999", hint)

    @staticmethod
    def _subject_test(name: str, condition: tree.Condition, *, in_filter: bool) -> tree.Node:
        return tree.PropertyTest(name, condition) if in_filter else tree.AttributeTest(name, condition)

    def _call(self, call: syntax.CallSyntax, condition: tree.Condition | None, *, in_filter: bool) -> tree.Node:
        if call.name in ("attr", "prop"):
            name = self._subject(call, in_filter=in_filter)
            if condition is None:
                self._fail(call.place, f"{call.name}(...) stands alone", "write a condition behind it")
            return self._subject_test(name, condition, in_filter=in_filter)
        if call.name in ("exists", "missing", "size"):
            return self._about_subject(call, condition, in_filter=in_filter)
        if call.name in _ITEM_CALLS:
            return self._items(call, condition, in_filter=in_filter)
        if call.name in VALUE_CALLS or (call.name in HISTORY_CALLS and not in_filter):
            return self._profile_call(call, condition, in_filter=in_filter)
        if in_filter or call.name not in _FUNCTIONS:
            known = _FILTER_FUNCTIONS if in_filter else _FUNCTIONS
            where = " inside an event filter" if in_filter and call.name in _FUNCTIONS else ""
            hint = advice_on_call(call.name) or nearest_hint(call.name, known)
            reports = f"; reports: {', '.join(self._reports)}" if self._reports and not in_filter else ""
            hint = hint or f"known functions{where or ' here'}: {', '.join(known)}{reports}"
            self._fail(call.place, f"{call.name}(...) is no function that can stand here{where}", hint)
        if call.name in ("did", "sequence", "funnel", "everyone", "in_segment") or call.name in _OCCURRENCES:
            return self._truth(call, condition)
        return self._measure(call, condition)

    def _profile_call(self, call: syntax.CallSyntax, condition: tree.Condition | None, *, in_filter: bool) -> tree.Node:
        calls = ProfileCalls(
            self._text,
            partial(self._single_subject, in_filter=in_filter),
            partial(self._subject_test, in_filter=in_filter),
            partial(self._node, in_filter=in_filter),
        )
        return calls.build(call, condition)

    def _items(self, call: syntax.CallSyntax, condition: tree.Condition | None, *, in_filter: bool) -> tree.Node:
        example = f'as in {call.name}(items, sku = "a" and qty >= 2)'
        if condition is not None:
            self._fail(call.place, f"{call.name}(...) is true or false and takes no comparison", example)
        filters = list[tree.Node]()
        for argument in call.arguments[1:]:
            match argument:
                case syntax.PredicateSyntax() | syntax.AllSyntax() | syntax.AnySyntax() | syntax.NotSyntax():
                    filters.append(self._node(argument, in_filter=True))
                case _:
                    place = argument.place
                    self._fail(place, f"{call.name}(...) takes conditions on the fields of an item", example)
        if not filters:
            self._fail(call.place, f"{call.name}(...) takes a list and conditions on its items", example)
        name = self._single_subject(replace(call, arguments=call.arguments[:1]), in_filter=in_filter)
        where = filters[0] if len(filters) == 1 else tree.All(tuple(filters))
        return self._subject_test(name, tree.ItemsTest(_ITEM_CALLS[call.name], where), in_filter=in_filter)

    def _about_subject(
        self, call: syntax.CallSyntax, condition: tree.Condition | None, *, in_filter: bool
    ) -> tree.Node:
        name = self._single_subject(call, in_filter=in_filter)
        if call.name == "size":
            if not isinstance(condition, tree.Compare) or type(condition.value) is not int or condition.ci:
                self._fail(call.place, "size(...) needs a comparison with a whole number", "as in size(tags) >= 2")
            return self._subject_test(name, tree.SizeTest(condition.op, condition.value), in_filter=in_filter)
        if condition is not None:
            self._fail(call.place, f"{call.name}(...) takes no comparison")
        return self._subject_test(name, tree.Exists(negated=call.name == "missing"), in_filter=in_filter)

    def _truth(self, call: syntax.CallSyntax, condition: tree.Condition | None) -> tree.Node:
        if condition is not None:
            self._fail(call.place, f"{call.name}(...) is true or false and takes no comparison")
        if call.name == "everyone":
            if call.arguments:
                self._fail(call.place, "everyone takes no arguments", "use did(...) for users who did something")
            return tree.Everyone()
        if call.name == "funnel":
            self._fail(call.place, "a funnel is a report and stands alone", "use sequence(...) inside a segment")
        if call.name == "in_segment":
            return self._in_segment(call)
        if call.name == "sequence":
            steps, without, options = self._steps(call)
            sequence = tree.SequenceTest(steps, *self._sequence_options(options, without))
            options.finish()
            return sequence
        events, prop, options = self._events(call)
        self._no_property(call, prop)
        window = options.window()
        options.finish()
        if call.name in _OCCURRENCES:
            if isinstance(window, tree.Always):
                self._fail(call.place, f"{call.name}(...) needs a window", f'as in {call.name}("Signup", last: 30d)')
            return tree.OccurrenceTest(_OCCURRENCES[call.name], events, window)
        return tree.Did(events, window)

    def _in_segment(self, call: syntax.CallSyntax) -> tree.Node:
        chain, filters, options = self._split(call)
        match chain:
            case syntax.ChainSyntax((syntax.EventSyntax((name,), None, ()),)) if not filters:
                version = options.whole_number("version")
                options.finish()
                return tree.InSegment(name, version)
        self._fail(call.place, "in_segment(...) takes the name of a segment", 'as in in_segment("vip")')

    def _measure(self, call: syntax.CallSyntax, condition: tree.Condition | None) -> tree.Node:
        if not isinstance(condition, tree.Compare) or type(condition.value) not in (int, float):
            hint = comparison_hint(call.name, condition)
            self._fail(call.place, f"{call.name}(...) needs a comparison with a number", hint)
        if condition.ci:
            self._fail(call.place, "ci compares strings; a number has no case")
        number = condition.value
        assert isinstance(number, int | float)
        events, prop, options = self._events(call)
        window = options.window()
        exclude_zero = options.word("zero", ("exclude", "include")) == "exclude" if call.name == "count" else False
        options.finish()
        if call.name == "count":
            self._no_property(call, prop)
            return tree.CountTest(events, window, condition.op, number, exclude_zero)
        if prop is None:
            self._fail(call.place, f"{call.name}(...) needs a property", f'as in {call.name}("Charged".amount)')
        return tree.AggregateTest(_AGGREGATES[call.name], prop, events, window, condition.op, number)

    def _events(self, call: syntax.CallSyntax) -> tuple[tree.Events, str | None, Options]:
        chain, filters, options = self._split(call)
        if chain is None or len(chain.events) != 1:
            hint = f'as in {call.name}("Charged", ...)'
            match call.arguments:
                case (syntax.PredicateSyntax(syntax.NameSyntax(name), None), *_):
                    call_of = f'{call.name}("Charged".{name})' if call.name in _AGGREGATES else f'{call.name}("{name}")'
                    hint = f"the names of events stand in double quotes, as in {call_of}"
                    if name.casefold() in _EVERYBODY:
                        hint = f"{hint}; inactive(30d) looks at events of all names"
            self._fail(call.place, f"{call.name}(...) needs one event first", hint)
        event = chain.events[0]
        return self._event(event, filters), event.property, options

    def _steps(self, call: syntax.CallSyntax) -> tuple[tuple[tree.Events, ...], tuple[tree.Exclusion, ...], Options]:
        chain, filters, options = self._split(call)
        if chain is None or len(chain.events) < 2:
            self._fail(call.place, f"{call.name}(...) needs two steps or more", f'as in {call.name}("View" -> "Buy")')
        if filters:
            self._fail(call.place, "filters belong to a step", 'as in sequence("View" -> "Buy"(amount > 10))')
        for event in (*chain.events, *(excluded for _, excluded in chain.without)):
            if event.property is not None:
                self._fail(event.place, "a step has no property")
        without = tuple(tree.Exclusion(gap, self._event(excluded, ())) for gap, excluded in chain.without)
        return tuple(self._event(event, ()) for event in chain.events), without, options

    def _event(self, event: syntax.EventSyntax, filters: Sequence[syntax.Syntax]) -> tree.Events:
        return tree.Events(event.names, self._filter((*event.where, *filters)))

    def _filter(self, filters: Sequence[syntax.Syntax]) -> tree.Node | None:
        """Filters of an event as one, None without any."""
        conditions = tuple(self._node(item, in_filter=True) for item in filters)
        return None if not conditions else conditions[0] if len(conditions) == 1 else tree.All(conditions)

    def _split(self, call: syntax.CallSyntax) -> tuple[syntax.ChainSyntax | None, list[syntax.Syntax], Options]:
        chain: syntax.ChainSyntax | None = None
        filters, options = list[syntax.Syntax](), list[syntax.OptionSyntax]()
        for position, argument in enumerate(call.arguments):
            if isinstance(argument, syntax.ChainSyntax):
                if position:
                    self._fail(argument.place, "events stand first", _HINTS_ON_EVENTS.get(call.name, _SEVERAL_NAMES))
                chain = argument
            elif isinstance(argument, syntax.OptionSyntax):
                options.append(argument)
            elif isinstance(argument, syntax.TestedSyntax):
                hint = 'a filter is written behind the event, as in did("Buy", amount > 3)'
                if call.name in ("sequence", "funnel"):
                    hint = 'steps are joined by ->, as in "A" -> "B"(amount > 3)'
                self._fail(argument.place, f"{call.name}(...) takes an event without a condition on it", hint)
            elif isinstance(argument, syntax.ScalarSyntax | syntax.RateSyntax | syntax.QuotaSyntax):
                self._fail(argument.place, f"a value alone says nothing to {call.name}(...)", "write name = value")
            else:
                filters.append(argument)
        return chain, filters, Options(self._text, call, options)

    @staticmethod
    def _sequence_options(
        options: Options, without: tuple[tree.Exclusion, ...]
    ) -> tuple[tree.Window, tree.Duration | None, bool, tree.AttemptRules]:
        window = options.window(length="for")
        within, within_each = options.duration("within"), options.duration("within_each")
        strict = options.word("tie", ("strict", "ordered")) == "strict"
        order = options.word("order", [order.value for order in tree.StepOrder])
        rules = tree.AttemptRules(within_each, tree.StepOrder(order or "ordered"), options.plain_name("hold"), without)
        return window, within, strict, rules

    def _subject(self, call: syntax.CallSyntax, *, in_filter: bool) -> str:
        wanted = "prop" if in_filter else "attr"
        if call.name != wanted:
            self._fail(call.place, f"{call.name}(...) cannot stand here", f"use {wanted}(...)")
        match call.arguments:
            case (syntax.ChainSyntax(events=(syntax.EventSyntax(names=(name,), property=None, where=()),)),):
                return name
        self._fail(call.place, f"{call.name}(...) takes one name in quotes", f'as in {call.name}("Customer type")')

    def _single_subject(self, call: syntax.CallSyntax, *, in_filter: bool) -> str:
        match call.arguments:
            case (syntax.PredicateSyntax(operand=syntax.NameSyntax(name=name), condition=None),):
                return name
            case (syntax.PredicateSyntax(operand=syntax.CallSyntax() as inner, condition=None),):
                return self._subject(inner, in_filter=in_filter)
        quoted = any(isinstance(argument, syntax.ChainSyntax) for argument in call.arguments)
        wanted = "one name without quotes" if quoted else "one name"
        conditions = ', sku = "a"' if call.name in _ITEM_CALLS else ""
        self._fail(call.place, f"{call.name}(...) takes {wanted}", f"as in {call.name}(plan{conditions})")

    def _no_property(self, call: syntax.CallSyntax, prop: str | None) -> None:
        if prop is not None:
            self._fail(call.place, f"{call.name}(...) takes no property")

    def _fail(self, place: syntax.Place, problem: str, hint: str = "") -> NoReturn:
        raise QuerySyntaxError(self._text, place.line, place.column, problem, hint)
