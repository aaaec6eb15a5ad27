"""Questions: segments and reports, losslessly both ways."""

from __future__ import annotations

from typing import Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.contract.enums import known
from cdp_router.contract.expressions import from_expression, to_expression
from cdp_router.contract.flows import from_flow, to_flow
from cdp_router.contract.segments import from_events, from_funnel, from_segment, to_events, to_funnel, to_segment
from cdp_router.contract.windows import CALENDAR, from_window, to_window
from cdp_router.errors import RequestInvalid

_STARTS: Final = {
    tree.PeriodStart.ROLLING: pb.PERIOD_START_ROLLING,
    tree.PeriodStart.CALENDAR: pb.PERIOD_START_CALENDAR,
}
_MODES: Final = {
    tree.ReturnMode.ON: pb.RETURN_MODE_ON,
    tree.ReturnMode.ON_OR_AFTER: pb.RETURN_MODE_ON_OR_AFTER,
}


def to_question(question: tree.Question) -> pb.Question:
    """Message of a question."""
    match question:
        case tree.Funnel():
            return pb.Question(funnel=to_funnel(question))
        case tree.Breakdown(segment, attribute):
            return pb.Question(breakdown=pb.Breakdown(segment=to_segment(segment), attribute=attribute))
        case tree.Trend():
            return pb.Question(trend=_to_trend(question))
        case tree.Retention():
            return pb.Question(retention=_to_retention(question))
        case tree.Overlap(segments):
            return pb.Question(overlap=pb.Overlap(segments=map(to_segment, segments)))
        case tree.Diff(segment, start, end):
            return pb.Question(diff=pb.Diff(segment=to_segment(segment), start=start.iso, end=end.iso))
        case tree.Distribution():
            return pb.Question(distribution=_to_distribution(question))
        case tree.Flow():
            return pb.Question(flow=to_flow(question))
        case tree.Rfm(events, money, window):
            return pb.Question(rfm=pb.Rfm(events=to_events(events), money=money, window=to_window(window)))
    return pb.Question(segment=to_segment(question))


def from_question(message: pb.Question) -> tree.Question:
    """Question of a message; RequestInvalid names the field that is missing or unknown."""
    match message.WhichOneof("form"):
        case "segment":
            return from_segment(message.segment)
        case "funnel":
            return from_funnel(message.funnel, "funnel")
        case "breakdown":
            segment = from_segment(message.breakdown.segment, "breakdown.segment")
            if not message.breakdown.attribute:
                raise RequestInvalid("breakdown.attribute", "must not be empty")
            return tree.Breakdown(segment, message.breakdown.attribute)
        case "trend":
            return _from_trend(message.trend)
        case "retention":
            return _from_retention(message.retention)
        case "overlap":
            parts = enumerate(message.overlap.segments)
            return tree.Overlap(tuple(from_segment(part, f"overlap.segments[{index}]") for index, part in parts))
        case "diff":
            diff = message.diff
            return tree.Diff(from_segment(diff.segment, "diff.segment"), tree.Moment(diff.start), tree.Moment(diff.end))
        case "distribution":
            return _from_distribution(message.distribution)
        case "flow":
            return from_flow(message.flow)
        case "rfm":
            events = from_events(message.rfm.events, "rfm.events")
            if not message.rfm.money:
                raise RequestInvalid("rfm.money", "must not be empty")
            return tree.Rfm(events, message.rfm.money, from_window(message.rfm.window, "rfm"))
    forms = ", ".join(field.name for field in pb.Question.DESCRIPTOR.oneofs_by_name["form"].fields)
    raise RequestInvalid("question.form", f"one of {forms} must be given")


def _to_distribution(report: tree.Distribution) -> pb.Distribution:
    segment = to_segment(report.segment)
    if isinstance(report.number, tree.AttributeNumber):
        return pb.Distribution(segment=segment, attribute=report.number.name)
    return pb.Distribution(segment=segment, expression=to_expression(report.number, to_events))


def _from_distribution(message: pb.Distribution) -> tree.Distribution:
    segment = from_segment(message.segment, "distribution.segment")
    match message.WhichOneof("number"):
        case "expression":
            number = from_expression(message.expression, "distribution.expression", from_events)
            return tree.Distribution(segment, number)
        case "attribute" if message.attribute:
            return tree.Distribution(segment, tree.AttributeNumber(message.attribute))
    raise RequestInvalid("distribution.number", "an expression or an attribute must be given")


def _to_trend(report: tree.Trend) -> pb.Trend:
    return pb.Trend(
        events=to_events(report.events),
        unit=CALENDAR[report.unit],
        window=to_window(report.window),
        property=report.property or "",
    )


def _from_trend(message: pb.Trend) -> tree.Trend:
    return tree.Trend(
        from_events(message.events, "trend.events"),
        known(CALENDAR, message.unit, "trend.unit"),
        from_window(message.window, "trend"),
        message.property or None,
    )


def _to_retention(report: tree.Retention) -> pb.Retention:
    return pb.Retention(
        entry=to_events(report.entry),
        returns=to_events(report.returns),
        unit=CALENDAR[report.unit],
        periods=report.periods,
        window=to_window(report.window),
        start=_STARTS[report.start],
        mode=_MODES[report.mode],
    )


def _from_retention(message: pb.Retention) -> tree.Retention:
    return tree.Retention(
        from_events(message.entry, "retention.entry"),
        from_events(message.returns, "retention.returns"),
        known(CALENDAR, message.unit, "retention.unit"),
        message.periods,
        from_window(message.window, "retention"),
        known(_STARTS, message.start or pb.PERIOD_START_ROLLING, "retention.start"),
        known(_MODES, message.mode or pb.RETURN_MODE_ON, "retention.mode"),
    )
