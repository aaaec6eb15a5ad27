"""Flows on the wire: what partitions contribute, and the answer."""

from __future__ import annotations

import numpy as np
from cdp.v1 import report_part_pb2, report_pb2

from cdp_query.reports.finish_flow import flow_nodes
from cdp_query.reports.flow_part import FlowPart


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
