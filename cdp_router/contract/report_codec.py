"""Contributions of shards and answers of reports on the wire, by the names and types of their fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from math import isfinite
from operator import attrgetter, or_
from typing import Any, Final

import numpy as np
from cdp.v1 import ingest_pb2, query_pb2
from cdp.v1 import report_part_pb2 as pb
from google.protobuf.descriptor import OneofDescriptor
from google.protobuf.message import Message

from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.partial import Partial
from cdp_query.reports.distribution_report import DistributionPart
from cdp_query.reports.flow_report import FlowPart
from cdp_query.reports.funnel_report import FunnelGroup
from cdp_query.reports.parts import ReportPart
from cdp_query.reports.registry import REPORTS
from cdp_query.reports.retention_report import RetentionRow
from cdp_query.reports.rfm_report import RfmPart
from cdp_query.reports.trend_report import TrendCell, TrendPart
from cdp_query.reports.value_keys import ValueKey
from cdp_query.scan.exact_total import ExactTotal
from cdp_query.scan.multiset import Multiset
from cdp_query.stats import NodeStats
from cdp_router.contract.fieldwise import Codecs, Rules
from cdp_router.contract.key_values import from_key_value, to_key_value
from cdp_router.contract.oneofs import Codec, OneofRule
from cdp_router.contract.values import from_timestamp_ms, from_value, to_timestamp, to_value
from cdp_store.arrays import F64, I64, AnyArray
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS

_PARTS_AT: Final = pb.ReportPart.DESCRIPTOR.oneofs_by_name["report"]
_ANSWERS_AT: Final = query_pb2.QueryResponse.DESCRIPTOR.oneofs_by_name["report"]


def to_part(part: ReportPart | None) -> pb.ReportPart | None:
    """Message of a part."""
    return None if part is None else pb.ReportPart(**_PARTS.parts(part))


def from_part(message: pb.ReportPart) -> ReportPart | None:
    """Part of a message."""
    if message.WhichOneof("report") is None:
        return None
    part: ReportPart = _PARTS.read(message, "", 0)
    return part


def answer_fields(answer: object | None) -> dict[str, Message]:
    """The field of QueryResponse for an answer, with its message; empty without an answer."""
    return {} if answer is None else _ANSWERS.parts(answer)


def _array(kind: str) -> Codec:
    """An array as its little-endian bytes."""
    native = np.dtype(kind).newbyteorder("=")
    return Codec(
        lambda array: array.astype(kind).tobytes(), lambda data, _path, _depth: np.frombuffer(data, kind).astype(native)
    )


def _unless(is_usual: Callable[[AnyArray], np.bool_]) -> Callable[[Codec], Codec]:
    """An array that is left out if it has its usual content."""
    return lambda codec: Codec(lambda array: b"" if is_usual(array) else codec.write(array), codec.read)


def _where(is_any: Callable[[Any], int]) -> Callable[[Codec], Codec]:
    """A message that is left out if it is empty."""
    return lambda codec: Codec(lambda value: codec.write(value) if is_any(value) else None, codec.read)


def _big_integer(_: Codec) -> Codec:
    """An integer of any size in two's complement, big-endian."""
    return Codec(
        lambda number: number.to_bytes(number.bit_length() // 8 + 1, signed=True),
        lambda data, _path, _depth: int.from_bytes(data, signed=True),
    )


def _filled_multiset(numbers: Multiset, _: str) -> Multiset:
    high, low, counts = numbers.high, numbers.low, numbers.counts
    low = low if low.size else np.zeros_like(high)
    return Multiset(high, low, counts if counts.size else np.ones(high.size, np.int64))


def _filled_rfm(part: RfmPart, _: str) -> RfmPart:
    return part if part.money_low.size else replace(part, money_low=np.zeros_like(part.money))


def _flow_parts(codecs: Codecs, _: Any) -> Codec:
    """The paths of a part as one array; its second length is a field of its own."""
    paths, counts = _array("<u2"), codecs.of_value(I64, pb.FlowPart.DESCRIPTOR.fields_by_name["counts"])

    def write(part: FlowPart) -> pb.FlowPart:
        return pb.FlowPart(
            names=part.names,
            depth=part.paths.shape[1],
            paths=paths.write(part.paths),
            counts=counts.write(part.counts),
            growing=part.growing,
        )

    def read(message: pb.FlowPart, path: str, depth: int) -> FlowPart:
        met = paths.read(message.paths, path, depth).reshape(-1, message.depth)
        return FlowPart(tuple(message.names), met, counts.read(message.counts, path, depth), message.growing)

    return Codec(write, read)


def _trend_parts(codecs: Codecs, _: Any) -> Codec:
    """The periods of a trend; written out for those without a total, because there are many."""
    totals = codecs.of_message(ExactTotal, pb.ExactTotal.DESCRIPTOR)
    nothing, numbers = ExactTotal(), attrgetter("events", "users")

    def write(part: TrendPart) -> pb.TrendPart:
        message = pb.TrendPart()
        add = message.cells.add
        for start, cell in part.cells.items():
            total = totals.write(cell.total) if cell.total.count else None
            add(start_ms=start, events=cell.events, users=cell.users, total=total)
        return message

    def read(message: pb.TrendPart, path: str, depth: int) -> TrendPart:
        cells = dict[int, TrendCell]()
        for each in message.cells:
            total = totals.read(each.total, path, depth) if each.HasField("total") else nothing
            cells[each.start_ms] = TrendCell(*numbers(each), total)
        return TrendPart(cells)

    return Codec(write, read)


def _values(_: Codecs, kind: Any) -> Codec:
    """The key of a group, or a number."""
    if kind == ValueKey:
        return Codec(to_key_value, lambda message, _path, _depth: from_key_value(message))
    return Codec(_to_number, lambda message, _path, _depth: from_value(message))


def _to_number(value: int | float) -> ingest_pb2.Value | None:
    """The message of a number.

    An integer beyond 64 bits has no exact form in a Value: it becomes the nearest float64, or None beyond that.
    """
    if isinstance(value, float) and not isfinite(value):
        return None
    return to_value(value if isinstance(value, float) or INT_MIN <= value <= INT_MAX else float(value))


def _instants(_: Codecs, __: Any) -> Codec:
    """Instants within the range of Timestamp: a local day at the ends of the calendar may begin outside it."""
    return Codec(
        lambda ms: to_timestamp(min(max(ms, TIME_MIN_MS), TIME_MAX_MS)),
        lambda message, _path, _depth: from_timestamp_ms(message),
    )


def _fields_of(at: OneofDescriptor, kinds: Iterable[type]) -> dict[type | str | tuple[type, str], str]:
    """The field of each dataclass: the one whose message has the same name."""
    by_message = {each.message_type.name: each.name for each in at.fields if each.message_type is not None}
    return {kind: by_message[kind.__name__] for kind in kinds}


_PART_TYPES: Final = tuple(kind.part for kind in REPORTS.values())
_ANSWER_TYPES: Final = tuple(kind.answer for kind in REPORTS.values())
CODECS: Final = Codecs(
    Rules(
        wire_names={
            **_fields_of(_PARTS_AT, _PART_TYPES),
            **_fields_of(_ANSWERS_AT, _ANSWER_TYPES),
            "start_ms": "start",
            "end_ms": "end",
            (RetentionRow, "complete"): "complete_periods",
            (Partial, "stats"): "counters",
            (Partial, "rest"): "values_rest",
            (NodeStats, "type_mismatch"): "type_mismatches",
        },
        oneofs={"ReportPart": OneofRule("a part must be given"), "QueryResponse.report": OneofRule("")},
        messages={
            "FlowPart": _flow_parts,
            "TrendPart": _trend_parts,
            "Value": _values,
            "Timestamp": _instants,
            "ReportPart": lambda _codecs, _kind: Codec(to_part, lambda message, _path, _depth: from_part(message)),
        },
        fields={
            (ExactTotal, "integers"): _big_integer,
            (ExactTotal, "fractions"): _big_integer,
            (FunnelGroup, "times"): _where(len),
            (DistributionPart, "numbers"): _where(len),
            (Multiset, "low"): _unless(lambda low: ~low.any()),
            (Multiset, "counts"): _unless(lambda counts: (counts == 1).all()),
            (RfmPart, "money_low"): _unless(lambda low: ~low.any()),
        },
        finishing={Multiset: _filled_multiset, RfmPart: _filled_rfm},
        values={I64: _array("<i8"), F64: _array("<f8")},
    )
)
_PARTS: Final = CODECS.of_oneof(reduce(or_, _PART_TYPES), _PARTS_AT)
_ANSWERS: Final = CODECS.of_oneof(reduce(or_, _ANSWER_TYPES), _ANSWERS_AT)
