"""Inputs for binding a part of a question: the context, the names of a partition, and binders for nested parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdp_query import tree
from cdp_query.bind.bound_events import BoundEvents, BoundFilter, FilterAll, FilterUserWindow, conjuncts
from cdp_query.calendar.windows import Interval, fixed_ms
from cdp_query.matching.matcher import Matcher
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.schema import SchemaReading


@dataclass(frozen=True, slots=True)
class Binding:
    """Binding of one question for one partition: its context, the partition's names, a binder for each kind of part."""

    context: tree.Context
    schema: SchemaReading
    events: Callable[[tree.Events], BoundEvents]
    interval: Callable[[tree.Window], Interval]
    matcher: Callable[[tree.Condition], Matcher]
    filter: Callable[[tree.Node], BoundFilter]

    def windowed(self, events: tree.Events, window: tree.Window) -> tuple[BoundEvents, Interval]:
        """The events of a window: those of an interval, with an additional filter if the window is the user's own."""
        inside = self.events(events)
        if not isinstance(window, tree.WithinFirst | tree.Since):
            return inside, self.interval(window)
        own = self.user_window(window)
        where = own if inside.where is None else FilterAll((*conjuncts(inside.where), own))
        return BoundEvents(inside.names, where), Interval(TIME_MIN_MS, self.context.as_of_ms)

    def user_window(self, window: tree.UserWindow) -> FilterUserWindow:
        """A window of each user."""
        until_ms = self.context.as_of_ms
        match window:
            case tree.WithinFirst(duration, names):
                return FilterUserWindow(self.events(tree.Events(names)), None, fixed_ms(duration), until_ms)
            case tree.Since(attribute):
                number = self.schema.attributes.get(attribute)
                return FilterUserWindow(None, number, TIME_MAX_MS - TIME_MIN_MS, until_ms, self.context.tz)
