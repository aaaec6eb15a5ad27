"""Reports with the names of a partition and their windows resolved."""

from __future__ import annotations

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.calendar.windows import fixed_ms
from cdp_query.errors import QueryInvalid
from cdp_query.limits import FLOW_DEPTH_MAX
from cdp_query.reports.flow_report import BoundFlow
from cdp_query.reports.funnel_report import BoundFunnel
from cdp_query.reports.retention_report import BoundRetention
from cdp_query.reports.rfm_report import BoundRfm
from cdp_query.reports.trend_report import BoundTrend
from cdp_store.memory.schema import SchemaReading


def bind_funnel(report: tree.Funnel, binder: Binder, schema: SchemaReading) -> BoundFunnel:
    """A funnel with the names of a partition."""
    by_attribute, by_entry = report.by_attribute, report.by_entry
    key = None
    if by_attribute is not None:
        key = schema.attributes.get(by_attribute)
    elif by_entry is not None:
        key = schema.properties.get(by_entry)
    return BoundFunnel(
        binder.attempts(report, schema, 0),
        report.mode,
        by_attribute is not None or by_entry is not None,
        by_attribute is not None,
        key,
        report.times,
    )


def bind_trend(report: tree.Trend, binder: Binder, schema: SchemaReading) -> BoundTrend:
    """A trend with the names of a partition."""
    prop = None if report.property is None else schema.properties.get(report.property)
    events, interval = binder.windowed(report.events, report.window, schema)
    return BoundTrend(events, interval, report.unit, binder.context.tz, prop)


def bind_rfm(report: tree.Rfm, binder: Binder, schema: SchemaReading) -> BoundRfm:
    """An rfm with the names of a partition."""
    money = schema.properties.get(report.money)
    return BoundRfm(*binder.windowed(report.events, report.window, schema), money)


def bind_retention(report: tree.Retention, binder: Binder, schema: SchemaReading) -> BoundRetention:
    """A retention with the names of a partition."""
    entry, interval = binder.windowed(report.entry, report.window, schema)
    return BoundRetention(
        entry,
        binder.events(report.returns, schema),
        interval,
        binder.context.as_of_ms,
        report.unit,
        report.periods,
        report.start,
        report.mode,
        binder.context.tz,
    )


def bind_flow(report: tree.Flow, binder: Binder, schema: SchemaReading) -> BoundFlow:
    """A flow with the names of a partition; without `only`, all of them are looked at."""
    if not 1 <= report.depth <= FLOW_DEPTH_MAX:
        raise QueryInvalid(f"a flow has a depth of 1 to {FLOW_DEPTH_MAX}, not {report.depth}")
    events, interval = binder.windowed(report.events, report.window, schema)
    known = schema.events
    return BoundFlow(
        events,
        tuple((name, known[name]) for name in sorted(set(report.only or known)) if name in known),
        interval,
        binder.context.as_of_ms,
        report.depth,
        -1 if report.within is None else fixed_ms(report.within),
        report.direction,
        report.anchor,
    )
