"""Flows on the wire: the question, what partitions contribute, and the answer."""

from __future__ import annotations

from typing import Final

import numpy as np
from cdp.v1 import report_part_pb2, report_pb2
from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.reports.finish_flow import flow_nodes
from cdp_query.reports.flow_part import FlowPart
from cdp_router.contract.enums import known
from cdp_router.contract.segments import from_events, to_events
from cdp_router.contract.windows import from_span, from_window, to_span, to_window
from cdp_router.errors import RequestInvalid

_DIRECTIONS: Final = {
    tree.FlowDirection.AFTER: pb.FLOW_DIRECTION_AFTER,
    tree.FlowDirection.BEFORE: pb.FLOW_DIRECTION_BEFORE,
}
_ANCHORS: Final = {
    tree.FlowAnchor.FIRST: pb.FLOW_ANCHOR_FIRST,
    tree.FlowAnchor.LAST: pb.FLOW_ANCHOR_LAST,
    tree.FlowAnchor.EACH: pb.FLOW_ANCHOR_EACH,
}


def to_flow(report: tree.Flow) -> pb.Flow:
    """Message of a flow."""
    return pb.Flow(
        events=to_events(report.events),
        depth=report.depth,
        window=to_window(report.window),
        within=None if report.within is None else to_span(report.within),
        direction=_DIRECTIONS[report.direction],
        anchor=_ANCHORS[report.anchor],
        only=report.only,
    )


def from_flow(message: pb.Flow) -> tree.Flow:
    """Flow of a message."""
    return tree.Flow(
        from_events(message.events, "flow.events"),
        message.depth,
        from_window(message.window, "flow"),
        from_span(message.within, "flow.within") if message.HasField("within") else None,
        known(_DIRECTIONS, message.direction or pb.FLOW_DIRECTION_AFTER, "flow.direction"),
        known(_ANCHORS, message.anchor or pb.FLOW_ANCHOR_FIRST, "flow.anchor"),
        _names(message),
    )


def _names(message: pb.Flow) -> tuple[str, ...]:
    if not all(message.only):
        raise RequestInvalid("flow.only", "must not hold an empty name")
    return tuple(message.only)


def to_flow_part(part: FlowPart) -> report_part_pb2.FlowPart:
    """Message of a part."""
    return report_part_pb2.FlowPart(
        names=part.names,
        depth=part.paths.shape[1],
        paths=part.paths.astype("<u2").tobytes(),
        counts=part.counts.astype("<i8").tobytes(),
        growing=part.growing,
    )


def from_flow_part(message: report_part_pb2.FlowPart) -> FlowPart:
    """Part of a message."""
    paths = np.frombuffer(message.paths, "<u2").astype(np.uint16).reshape(-1, message.depth)
    counts = np.frombuffer(message.counts, "<i8").astype(np.int64)
    return FlowPart(tuple(message.names), paths, counts, message.growing)


def to_flow_report(part: FlowPart) -> report_pb2.FlowReport:
    """The nodes of a merged part that a client sees."""
    nodes, node_count = flow_nodes(part)
    return report_pb2.FlowReport(
        nodes=[
            report_pb2.FlowNode(path=node.path, count=node.count, ended=node.ended, other=node.other) for node in nodes
        ],
        node_count=node_count,
        incomplete=part.growing,
    )
