"""Parts of reports between shard and router."""

from __future__ import annotations

import numpy as np
from cdp.v1 import report_part_pb2 as pb

from cdp_query.reports.flow_part import FlowPart
from cdp_query.reports.parts import (
    DiffPart,
    DistributionPart,
    FunnelGroup,
    FunnelPart,
    OverlapPart,
    ReportPart,
    RetentionCohort,
    RetentionPart,
    RfmPart,
    TrendCell,
    TrendPart,
)
from cdp_query.reports.value_keys import ValueKey
from cdp_query.scan.exact_total import ExactTotal
from cdp_query.scan.multiset import Multiset
from cdp_router.contract.flows import from_flow_part, to_flow_part
from cdp_router.contract.key_values import from_key_value, to_key_value


def to_part(part: ReportPart | None) -> pb.ReportPart | None:
    """Message of a part."""
    match part:
        case TrendPart(cells):
            trend = pb.TrendPart(
                cells=[
                    pb.TrendCell(start_ms=start, events=cell.events, users=cell.users, total=_to_total(cell.total))
                    for start, cell in cells.items()
                ]
            )
            return pb.ReportPart(trend=trend)
        case RetentionPart(cohorts):
            retention = pb.RetentionPart(
                cohorts=[
                    pb.RetentionCohort(
                        start_ms=start,
                        users=cohort.users,
                        returned=cohort.returned,
                        latest_entry_ms=cohort.latest_entry_ms,
                    )
                    for start, cohort in cohorts.items()
                ]
            )
            return pb.ReportPart(retention=retention)
        case FunnelPart(whole, incomplete, groups, rest):
            funnel = pb.FunnelPart(
                whole=_to_group(None, whole),
                incomplete=incomplete,
                groups=[_to_group(key, group) for key, group in groups.items()],
                rest=None if rest is None else _to_group(None, rest),
            )
            return pb.ReportPart(funnel=funnel)
        case OverlapPart(counts):
            return pb.ReportPart(overlap=pb.OverlapPart(counts=counts))
        case DiffPart(entered, left, stayed):
            return pb.ReportPart(diff=pb.DiffPart(entered=entered, left=left, stayed=stayed))
        case DistributionPart(numbers, undefined):
            distribution = pb.DistributionPart(numbers=_to_multiset(numbers), undefined=undefined)
            return pb.ReportPart(distribution=distribution)
        case RfmPart(last_ms, events, money, money_low):
            rfm = pb.RfmPart(
                last_ms=last_ms.astype("<i8").tobytes(),
                events=events.astype("<i8").tobytes(),
                money=money.astype("<f8").tobytes(),
                money_low=money_low.astype("<f8").tobytes() if money_low.any() else b"",
            )
            return pb.ReportPart(rfm=rfm)
        case FlowPart():
            return pb.ReportPart(flow=to_flow_part(part))
    return None


def from_part(message: pb.ReportPart) -> ReportPart | None:
    """Part of a message."""
    match message.WhichOneof("report"):
        case "trend":
            return TrendPart(
                {
                    cell.start_ms: TrendCell(cell.events, cell.users, _from_total(cell.total))
                    for cell in message.trend.cells
                }
            )
        case "retention":
            return RetentionPart(
                {
                    cohort.start_ms: RetentionCohort(cohort.users, tuple(cohort.returned), cohort.latest_entry_ms)
                    for cohort in message.retention.cohorts
                }
            )
        case "funnel":
            funnel = message.funnel
            return FunnelPart(
                _from_group(funnel.whole),
                funnel.incomplete,
                {from_key_value(group.value): _from_group(group) for group in funnel.groups},
                _from_group(funnel.rest) if funnel.HasField("rest") else None,
            )
        case "overlap":
            return OverlapPart(tuple(message.overlap.counts))
        case "diff":
            return DiffPart(message.diff.entered, message.diff.left, message.diff.stayed)
        case "distribution":
            return DistributionPart(_from_multiset(message.distribution.numbers), message.distribution.undefined)
        case "rfm":
            return _from_rfm(message.rfm)
        case "flow":
            return from_flow_part(message.flow)
    return None


def _from_rfm(message: pb.RfmPart) -> RfmPart:
    money = np.frombuffer(message.money, "<f8").astype(np.float64)
    low = np.frombuffer(message.money_low, "<f8").astype(np.float64) if message.money_low else np.zeros_like(money)
    last_ms, events = (np.frombuffer(part, "<i8").astype(np.int64) for part in (message.last_ms, message.events))
    return RfmPart(last_ms, events, money, low)


def _to_group(key: ValueKey | None, group: FunnelGroup) -> pb.FunnelGroup:
    value = None if key is None else to_key_value(key)
    return pb.FunnelGroup(value=value, steps=group.steps, times=_to_multiset(group.times))


def _from_group(message: pb.FunnelGroup) -> FunnelGroup:
    return FunnelGroup(tuple(message.steps), _from_multiset(message.times))


def _to_multiset(numbers: Multiset) -> pb.Multiset | None:
    if not numbers.counts.size:
        return None
    return pb.Multiset(
        high=numbers.high.astype("<f8").tobytes(),
        low=numbers.low.astype("<f8").tobytes() if numbers.low.any() else b"",
        counts=numbers.counts.astype("<i8").tobytes() if (numbers.counts != 1).any() else b"",
    )


def _from_multiset(message: pb.Multiset) -> Multiset:
    high = np.frombuffer(message.high, "<f8").astype(np.float64)
    low = np.frombuffer(message.low, "<f8").astype(np.float64) if message.low else np.zeros_like(high)
    counts = np.frombuffer(message.counts, "<i8").astype(np.int64) if message.counts else np.ones(high.size, np.int64)
    return Multiset(high, low, counts)


def _to_total(total: ExactTotal) -> pb.ExactTotal | None:
    if not total.count:
        return None
    return pb.ExactTotal(
        count=total.count,
        integers=_to_bytes(total.integers),
        fractions=_to_bytes(total.fractions),
        has_floats=total.has_floats,
    )


def _from_total(message: pb.ExactTotal) -> ExactTotal:
    return ExactTotal(
        message.count,
        int.from_bytes(message.integers, signed=True),
        int.from_bytes(message.fractions, signed=True),
        message.has_floats,
    )


def _to_bytes(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, signed=True)
