"""Capture of views of all partitions that show every profile once, while profiles move between partitions.

A transfer is part of the view it arrived in and of the view it has not left yet. Views agree when each transfer appears
in exactly one of the two; if it appears in both, the view it comes from is read without it. Views that are too old
compared with others, so that it would appear in neither, are captured again. docs/design/identity.md has the proof.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from cdp.v1 import moving_pb2 as pb

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import CAPTURE_VIEWS
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed

_TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Disagreement:
    """(partition, to) of open transfers that have arrived, and partitions whose views are too old."""

    arrived: frozenset[tuple[int, int]]
    too_old: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.arrived or self.too_old)


def compare(transfers: Iterable[pb.PartitionTransfers]) -> Disagreement:
    """Finds the transfers that these views show twice, and the partitions whose views are too old to show theirs."""
    ends = {each.partition: each for each in transfers}
    sent = {(number, each.to): each for number, end in ends.items() for each in end.sent}
    received = {(each.source, number): each.last for number, end in ends.items() for each in end.received}
    arrived, too_old = set[tuple[int, int]](), set[int]()
    for (number, to), each in sent.items():
        if to in ends:
            last = received.get((number, to), 0)
            if last < each.released:
                too_old.add(to)
            if each.open and last >= each.open:
                arrived.add((number, to))
    for (source, number), last in received.items():
        if source in ends:
            end = sent.get((source, number))
            if end is None or last > max(end.released, end.open):
                too_old.add(source)
    return Disagreement(frozenset(arrived), frozenset(too_old))


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes to find in views, as of an instant."""

    names: Sequence[str]
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Agreed:
    """Views that agree, their partitions, and the kinds of the requested attributes found in each of them."""

    views: pb.HeldViews
    partitions: Sequence[int]
    attributes: Sequence[pb.AttributeKinds]


async def agreeing_views(
    routing: Routing, deadline: Deadline, attributes: Attributes | None = None, *, allow_partial: bool = False
) -> Agreed:
    """Makes the shards hold views of all partitions that agree; DeadlineMissed if they never did.

    With `allow_partial` only of partitions whose shards answer, at least one.
    """
    ends, met = dict[int, pb.PartitionTransfers](), list[pb.AttributeKinds]()
    request = pb.CaptureViewsRequest(token=secrets.token_bytes(_TOKEN_BYTES))
    if attributes is not None:
        request.attributes.extend(attributes.names)
        request.as_of_ms = attributes.as_of_ms
    wanted: Iterable[int] = routing.map.partitions
    while deadline.remaining():
        captured = await routing.gather(CAPTURE_VIEWS, request, deadline, wanted)
        for response in captured.answers:
            ends |= {each.partition: each for each in response.transfers}
            met += response.attributes
        for lost in chain.from_iterable(captured.missing.values()):
            ends.pop(lost, None)
        if captured.failures and not (allow_partial and ends):
            raise routing.error(captured)
        found = compare(ends.values())
        if not found.too_old:
            arrived = [pb.ArrivedTransfer(partition=number, to=to) for number, to in sorted(found.arrived)]
            return Agreed(pb.HeldViews(token=request.token, arrived=arrived), sorted(ends), met)
        wanted = found.too_old
    raise DeadlineMissed("profiles moved between partitions all the time; allow more time")
