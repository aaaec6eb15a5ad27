"""The names a question mentions, and those a partition knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cdp_query import tree
from cdp_query.bind.bind_profiles import LATITUDE, LONGITUDE
from cdp_store.memory.schema import SchemaReading


@dataclass(frozen=True, slots=True)
class Names:
    """Names a question mentions, or a partition knows of them."""

    events: frozenset[str] = frozenset()
    properties: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()

    def merge(self, other: Names) -> Names:
        """Names in either."""
        return Names(self.events | other.events, self.properties | other.properties, self.attributes | other.attributes)

    def known_to(self, schema: SchemaReading) -> Names:
        """Those of the names the schema knows."""
        return Names(
            self.events & frozenset(schema.events),
            self.properties & frozenset(schema.properties),
            self.attributes & frozenset(schema.attributes),
        )


NO_NAMES = Names()


def names_of(question: tree.Question) -> Names:
    """Every event, property and attribute name a question mentions."""
    match question:
        case tree.Funnel():
            own = Names(
                attributes=frozenset(filter(None, [question.by_attribute])),
                properties=frozenset(filter(None, [question.by_entry])),
            )
            return own.merge(_names_of_steps(question))
        case tree.Trend(events, property=name, window=window):
            own = _names_of_events(events).merge(_names_of_window(window))
            return own if name is None else own.merge(Names(properties=frozenset({name})))
        case tree.Retention(entry, returns, window=window):
            return _merged([_names_of_events(entry), _names_of_events(returns), _names_of_window(window)])
        case tree.Overlap(segments):
            return _merged(map(names_of, segments))
        case tree.Diff(segment):
            return names_of(segment)
        case tree.Distribution(segment, tree.AttributeNumber(name)):
            return names_of(segment).merge(Names(attributes=frozenset({name})))
        case tree.Distribution(segment, tree.Number() | tree.Measure() | tree.Arithmetic() as number):
            return names_of(segment).merge(_names_of_expression(number))
        case tree.Rfm(events, money, window):
            own = Names(properties=frozenset({money}))
            return _merged([own, _names_of_events(events), _names_of_window(window)])
        case tree.Flow(events, window=window, only=only):
            return _merged([Names(events=frozenset(only)), _names_of_events(events), _names_of_window(window)])
        case tree.Breakdown(segment, attribute):
            return names_of(segment).merge(Names(attributes=frozenset({attribute})))
        case tree.All(items) | tree.Any(items):
            return _merged(map(names_of, items))
        case tree.Not(item):
            return names_of(item)
        case tree.AttributeTest(name):
            return Names(attributes=frozenset({name}))
        case tree.PropertyTest(name):
            return Names(properties=frozenset({name}))
        case tree.WasTest(name) | tree.ChangedTest(name) | tree.UnchangedTest(name) | tree.ValueAtTest(name):
            return Names(attributes=frozenset({name}))
        case tree.DistanceTest(name):
            return Names(attributes=frozenset({name + LATITUDE, name + LONGITUDE}))
        case tree.AggregateTest(property=name, events=events, window=window):
            names = _names_of_events(events).merge(_names_of_window(window))
            return names.merge(Names(properties=frozenset({name})))
        case (
            tree.Did(events, window)
            | tree.CountTest(events, window)
            | tree.OccurrenceTest(_, events, window)
            | tree.RecencyTest(events=events, window=window)
        ):
            return _names_of_events(events).merge(_names_of_window(window))
        case tree.EdgeValueTest() | tree.MostlyTest() | tree.ShareTest():
            names = _names_of_events(question.events).merge(_names_of_window(question.window))
            return names.merge(Names(properties=frozenset({question.property})))
        case tree.NthTest(events, _, where, window):
            names = _names_of_events(events).merge(_names_of_window(window))
            return names if where is None else names.merge(names_of(where))
        case tree.RegularlyTest(events) | tree.StoppedTest(events) | tree.ResumedTest(events):
            return _names_of_events(events)
        case tree.SequenceTest():
            return _names_of_steps(question)
        case tree.ExpressionTest(left, _, right):
            return _names_of_expression(left).merge(_names_of_expression(right))
    return Names()


def _names_of_window(window: tree.Window) -> Names:
    match window:
        case tree.WithinFirst(names=names):
            return Names(events=frozenset(names))
        case tree.Since(attribute):
            return Names(attributes=frozenset({attribute}))
    return NO_NAMES


def _names_of_expression(expression: tree.Expression) -> Names:
    match expression:
        case tree.Measure(_, events, name, window):
            names = _names_of_events(events).merge(_names_of_window(window))
            return names if name is None else names.merge(Names(properties=frozenset({name})))
        case tree.Arithmetic(_, left, right):
            return _names_of_expression(left).merge(_names_of_expression(right))
    return NO_NAMES


def _names_of_steps(node: tree.Funnel | tree.SequenceTest) -> Names:
    held = Names(properties=frozenset(filter(None, [node.rules.hold])))
    excluded = (item.events for item in node.rules.without)
    return _merged([held, _names_of_window(node.window), *map(_names_of_events, (*node.steps, *excluded))])


def _names_of_events(events: tree.Events) -> Names:
    own = Names(events=frozenset(events.names))
    return own if events.where is None else own.merge(_names_of_filter(events.where))


def _names_of_filter(where: tree.Node) -> Names:
    """Names in a filter: those of places are properties there."""
    found = names_of(where)
    return Names(properties=found.properties | found.attributes)


def _merged(parts: Iterable[Names]) -> Names:
    whole = Names()
    for part in parts:
        whole = whole.merge(part)
    return whole
