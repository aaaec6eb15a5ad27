"""Binding: the only place where names are looked up, windows resolved and conditions compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from cdp_query import tree
from cdp_query.bind import bound
from cdp_query.bind.bind_event_tests import bind_event_test, bind_occurrence, bind_time_filter
from cdp_query.bind.bind_measures import bind_expression, bind_expression_test
from cdp_query.bind.bind_profiles import LATITUDE, LONGITUDE, bind_profile_test, circle
from cdp_query.bind.binding import Binding
from cdp_query.bind.bound_attempts import BoundAttempts, check_rules
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount
from cdp_query.bind.bound_events import BoundEvents, BoundFilter, BoundProperty, FilterAll, FilterAny, FilterNot
from cdp_query.bind.bound_measures import BoundExpression
from cdp_query.bind.bound_profiles import FilterDistance
from cdp_query.bind.names import Names, names_of, numbers_of
from cdp_query.bind.twins import twins_of
from cdp_query.calendar.windows import Interval, fixed_ms, resolve, zone
from cdp_query.errors import QueryInvalid
from cdp_query.limits import SEQUENCE_STEPS_MAX
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.matchers import compile_condition
from cdp_query.matching.ranges import range_of
from cdp_query.tree.walk import descendants, predicates
from cdp_store.memory.schema import SchemaReading

NO_SCHEMA = SchemaReading({}, {}, {})
_TIMES = tree.Moment | tree.TimeTest | tree.Anniversary


@dataclass(frozen=True, slots=True)
class _Written:
    """The numbers of parts to come; for parts with twins the first one's id by their own, and its bound form.

    Predicates `skipped`, by number, are left out.
    """

    numbers: Iterator[int]
    twins: Mapping[int, int]
    skipped: frozenset[int]
    bound: dict[int, bound.BoundNode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """For each part with a twin, by id, the id of the first one written alike; `every_event`: a part is about all."""

    twins: Mapping[int, int]
    every_event: bool

    @classmethod
    def of(cls, segment: tree.Node) -> SegmentFacts:
        """The facts of a segment."""
        return cls(twins_of(segment), any(isinstance(part, tree.Inactive) for part in predicates(segment)))


@dataclass(frozen=True, slots=True)
class Findings:
    """Facts that depend on a tree alone, by the ids of its parts: kept beside a tree that is asked again and again.

    Each is kept with its part, so that no other part can ever have the same id.
    """

    segments: dict[int, tuple[tree.Node, SegmentFacts]] = field(default_factory=dict)
    names: dict[int, tuple[tree.Question, Names, SchemaReading]] = field(default_factory=dict)
    matchers: dict[int, tuple[tree.Condition, Matcher]] = field(default_factory=dict)  # of conditions without a time


@dataclass(slots=True)
class Binder:
    """Binds one question for any number of partitions; work that does not depend on a partition is done once.

    `findings` are those of the same tree, from questions before.
    """

    context: tree.Context
    findings: Findings = field(default_factory=Findings)
    _matchers: dict[int, Matcher] = field(default_factory=dict)
    _intervals: dict[int, Interval] = field(default_factory=dict)
    _bindings: dict[int, Binding] = field(default_factory=dict)  # by the id of the schema, which each holds

    def bind(
        self,
        node: tree.Node,
        schema: SchemaReading,
        first: int = 0,
        skipped: frozenset[int] = frozenset(),
    ) -> bound.BoundNode:
        """The bound form of a segment; nodes are numbered in written order, from `first` on.

        Parts that are written alike are one bound node, with the number of the first. Predicates `skipped`, by number,
        stand for everyone.
        """
        return self._node(node, schema, _Written(count(first), self.facts(node).twins, skipped))

    def facts(self, segment: tree.Node) -> SegmentFacts:
        """Facts that follow from the form of a segment."""
        found = self.findings.segments.get(id(segment))
        if found is None:
            found = self.findings.segments[id(segment)] = segment, SegmentFacts.of(segment)
        return found[1]

    def names(self, question: tree.Question) -> Names:
        """Every name the question mentions."""
        return self._named(question)[1]

    def numbers(self, question: tree.Question) -> SchemaReading:
        """Numbers for these names."""
        return self._named(question)[2]

    def _named(self, question: tree.Question) -> tuple[tree.Question, Names, SchemaReading]:
        known = self.findings.names.get(id(question))
        if known is None:
            names = names_of(question)
            known = self.findings.names[id(question)] = question, names, numbers_of(names)
        return known

    def bind_sequence(self, report: tree.Funnel | tree.SequenceTest, schema: SchemaReading) -> bound.BoundSequence:
        """The bound form of a funnel's steps."""
        return self._sequence(report, schema, 0)

    def events(self, events: tree.Events, schema: SchemaReading) -> BoundEvents:
        """The bound form of the events of a report."""
        return self._events(events, schema)

    def expression(self, expression: tree.Expression, schema: SchemaReading) -> BoundExpression:
        """The bound form of the number in a report."""
        return bind_expression(expression, self._binding(schema))

    def windowed(self, events: tree.Events, window: tree.Window, schema: SchemaReading) -> tuple[BoundEvents, Interval]:
        """The events of a report's window, which may be each user's own."""
        return self._binding(schema).windowed(events, window)

    def attempts(self, node: tree.Funnel | tree.SequenceTest, schema: SchemaReading, own: int) -> BoundAttempts:
        """The bound form of steps under all their rules; with a window of each user, also that window."""
        rules, window, plain = node.rules, None, node
        if isinstance(node.window, tree.WithinFirst | tree.Since):
            window, plain = self._binding(schema).user_window(node.window), replace(node, window=tree.ALWAYS)
        steps = self._sequence(plain, schema, own)
        check_rules(rules, len(node.steps), strict_ties=node.strict_ties)
        return BoundAttempts(
            own,
            steps.steps,
            steps.interval,
            steps.until_ms,
            steps.within_ms,
            -1 if rules.within_each is None else fixed_ms(rules.within_each),
            steps.strict_ties,
            rules.order,
            rules.hold is not None,
            None if rules.hold is None else schema.properties.get(rules.hold),
            tuple((excluded.gap, self._events(excluded.events, schema)) for excluded in rules.without),
            window,
        )

    def check(self, question: tree.Node | tree.Funnel | tree.Breakdown) -> None:
        """Raises QueryInvalid if the question cannot be bound under any schema."""
        zone(self.context.tz)
        match question:
            case tree.Funnel():
                self.attempts(question, NO_SCHEMA, 0)
                if question.by_attribute is not None and question.by_entry is not None:
                    raise QueryInvalid("a funnel is grouped by an attribute or by a property of the entry, not by both")
            case tree.Breakdown(segment):
                self.bind(segment, NO_SCHEMA)
            case _:
                self.bind(question, NO_SCHEMA)

    def _node(self, node: tree.Node, schema: SchemaReading, written: _Written) -> bound.BoundNode:
        own = next(written.numbers)
        match node:
            case tree.All(items):
                return bound.BoundAll(own, tuple(self._node(item, schema, written) for item in items))
            case tree.Any(items):
                return bound.BoundAny(own, tuple(self._node(item, schema, written) for item in items))
            case tree.Not(item):
                return bound.BoundNot(own, self._node(item, schema, written))
            case _ if own in written.skipped:
                return bound.BoundEveryone(own)
            case _:
                return self._twin(node, schema, written, own)

    def _twin(self, node: tree.Leaf, schema: SchemaReading, written: _Written, own: int) -> bound.BoundNode:
        first = written.twins.get(id(node))
        if first is None:
            return self._leaf(node, schema, own)
        if first not in written.bound:
            written.bound[first] = self._leaf(node, schema, own)
        return written.bound[first]

    def _leaf(self, node: tree.Leaf, schema: SchemaReading, own: int) -> bound.BoundNode:
        match node:
            case tree.Everyone():
                return bound.BoundEveryone(own)
            case tree.AttributeTest(name, condition):
                return bound.BoundAttribute(own, schema.attributes.get(name), self._matcher(condition))
            case tree.Did() | tree.CountTest() | tree.AggregateTest() | tree.OccurrenceTest():
                return self._about_events(node, schema, own)
            case tree.InSegment(name):
                raise QueryInvalid(f"the segment {name!r} was not written out; only a router knows named segments")
            case tree.HourTest() | tree.WeekdayTest():
                raise QueryInvalid("hour and weekday are of an event; they stand in event filters")
            case tree.PropertyTest(name):
                raise QueryInvalid(f"{name!r} is a property test outside of an event filter; use an attribute test")
            case tree.SequenceTest(rules=tree.PLAIN_RULES, window=window) if not isinstance(window, tree.UserWindow):
                return self._sequence(node, schema, own)
            case tree.SequenceTest():
                return self.attempts(node, schema, own)
            case tree.ExpressionTest():
                return bind_expression_test(node, own, self._binding(schema))
            case tree.DistanceTest() | tree.BucketTest():
                return bind_profile_test(node, schema.attributes, self.context, self._matcher, own)
        if isinstance(node, tree.HistoryTest):
            return bind_profile_test(node, schema.attributes, self.context, self._matcher, own)
        return bind_event_test(node, own, self._binding(schema))

    def _about_events(
        self,
        node: tree.Did | tree.CountTest | tree.AggregateTest | tree.OccurrenceTest,
        schema: SchemaReading,
        own: int,
    ) -> bound.BoundNode:
        binding = self._binding(schema)
        if isinstance(node, tree.OccurrenceTest):
            return bind_occurrence(node, own, binding)
        events, interval = binding.windowed(node.events, node.window)
        match node:
            case tree.Did():
                return BoundCount(own, events, interval, range_of(tree.Op.GE, 1), False, False)
            case tree.CountTest(op=op, value=value, exclude_zero=exclude_zero):
                wanted = range_of(op, value)
                return BoundCount(own, events, interval, wanted, op is tree.Op.NE, exclude_zero)
            case tree.AggregateTest(aggregate=aggregate, property=name, op=op, value=value):
                wanted, key = range_of(op, value), schema.properties.get(name)
                return BoundAggregate(own, aggregate, key, events, interval, wanted, op is tree.Op.NE)

    def _sequence(self, node: tree.SequenceTest | tree.Funnel, schema: SchemaReading, own: int) -> bound.BoundSequence:
        if not 1 <= len(node.steps) <= SEQUENCE_STEPS_MAX:
            raise QueryInvalid(f"a sequence has 1 to {SEQUENCE_STEPS_MAX} steps, not {len(node.steps)}")
        return bound.BoundSequence(
            own,
            tuple(self._events(step, schema) for step in node.steps),
            self._interval(node.window),
            self.context.as_of_ms,
            -1 if node.within is None else fixed_ms(node.within),
            node.strict_ties,
        )

    def _binding(self, schema: SchemaReading) -> Binding:
        known = self._bindings.get(id(schema))
        if known is None:
            known = self._bindings[id(schema)] = Binding(
                self.context,
                schema,
                lambda events: self._events(events, schema),
                self._interval,
                self._matcher,
                lambda where: self._filter(where, schema),
            )
        return known

    def _events(self, events: tree.Events, schema: SchemaReading) -> BoundEvents:
        names = (schema.events.get(name) for name in dict.fromkeys(events.names))
        where = None if events.where is None else self._filter(events.where, schema)
        return BoundEvents(tuple(name for name in names if name is not None), where)

    def _filter(self, node: tree.Node, schema: SchemaReading) -> BoundFilter:
        match node:
            case tree.All(items):
                return FilterAll(tuple(self._filter(item, schema) for item in items))
            case tree.Any(items):
                return FilterAny(tuple(self._filter(item, schema) for item in items))
            case tree.Not(item):
                return FilterNot(self._filter(item, schema))
            case tree.PropertyTest(name, condition):
                return BoundProperty(schema.properties.get(name), self._matcher(condition))
            case tree.HourTest() | tree.WeekdayTest():
                return bind_time_filter(node, self.context.tz)
            case tree.DistanceTest(name):
                properties = schema.properties
                return FilterDistance(properties.get(name + LATITUDE), properties.get(name + LONGITUDE), circle(node))
        raise QueryInvalid(
            f"an event filter tests the event's own properties; {type(node).__name__} cannot stand there"
        )

    # Frozen trees live as long as the question, so an object's id names it; equality would not do, since 1 == True.
    def _matcher(self, condition: tree.Condition) -> Matcher:
        known = self._matchers.get(id(condition))
        if known is None:
            known = self._matchers[id(condition)] = self._compiled(condition)
        return known

    def _compiled(self, condition: tree.Condition) -> Matcher:
        found = self.findings.matchers.get(id(condition))
        if found is not None:
            return found[1]
        compiled = compile_condition(condition, self.context)
        if not any(isinstance(part, _TIMES) for part in descendants(condition)):
            self.findings.matchers[id(condition)] = condition, compiled
        return compiled

    def _interval(self, window: tree.Window) -> Interval:
        known = self._intervals.get(id(window))
        if known is None:
            known = self._intervals[id(window)] = resolve(window, self.context)
        return known
