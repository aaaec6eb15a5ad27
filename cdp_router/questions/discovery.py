"""Discovery of a cluster, put together from its partitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from cdp.v1 import schema_pb2, shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import DISCOVER_NAMES
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline
from cdp_store.values import Kind

_TYPES: Final[Mapping[int, schema_pb2.ValueType.ValueType]] = {
    Kind.BOOL: schema_pb2.VALUE_TYPE_BOOLEAN,
    Kind.INT: schema_pb2.VALUE_TYPE_INTEGER,
    Kind.FLOAT: schema_pb2.VALUE_TYPE_NUMBER,
    Kind.STRING: schema_pb2.VALUE_TYPE_TEXT,
    Kind.TIME: schema_pb2.VALUE_TYPE_TIME,
    Kind.LIST: schema_pb2.VALUE_TYPE_LIST,
}


async def discover(routing: Routing, deadline: Deadline) -> schema_pb2.DiscoverSchemaResponse:
    """Everything that any partition has seen, by name; all must answer."""
    answers = await routing.complete(DISCOVER_NAMES, shard_pb2.DiscoverNamesRequest(), deadline)
    events = defaultdict[str, list[shard_pb2.MetEvents]](list)
    properties = defaultdict[str, defaultdict[str, list[shard_pb2.MetProperty]]](lambda: defaultdict(list))
    for answer in answers:
        for met in answer.events:
            events[met.name].append(met)
        for each in answer.properties:
            properties[each.event][each.name].append(each)
    return schema_pb2.DiscoverSchemaResponse(
        events=[
            schema_pb2.SeenEvents(
                name=name,
                count=sum(each.count for each in parts),
                first=to_timestamp(min(each.first_ms for each in parts)),
                last=to_timestamp(max(each.last_ms for each in parts)),
                properties=[_seen(own, found) for own, found in sorted(properties[name].items())],
            )
            for name, parts in sorted(events.items())
        ],
        attributes=[_timed(_seen(name, found), found) for name, found in sorted(properties[""].items())],
    )


def _seen(name: str, parts: Iterable[shard_pb2.MetProperty]) -> schema_pb2.SeenProperty:
    counts, told, distinct = Counter[int](), list[Sequence[int]](), list[int]()
    for part in parts:
        counts.update(dict(part.kinds))
        distinct.append(part.distinct)
        told.append(part.hashes)
    is_exact = all(len(hashes) == count for hashes, count in zip(told, distinct, strict=True))
    exact = len(np.unique(np.array([each for hashes in told for each in hashes], np.uint64))) if is_exact else 0
    return schema_pb2.SeenProperty(
        name=name,
        types=[schema_pb2.SeenType(type=_TYPES[kind], count=count) for kind, count in sorted(counts.items())],
        distinct_at_least=exact if is_exact else max(distinct),
        distinct_at_most=exact if is_exact else sum(distinct),
    )


def _timed(seen: schema_pb2.SeenProperty, parts: Sequence[shard_pb2.MetProperty]) -> schema_pb2.SeenProperty:
    seen.first.CopyFrom(to_timestamp(min(part.first_ms for part in parts)))
    seen.last.CopyFrom(to_timestamp(max(part.last_ms for part in parts)))
    return seen
