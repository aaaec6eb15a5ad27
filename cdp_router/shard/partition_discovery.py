"""Discovery of a partition as a message."""

from __future__ import annotations

from cdp.v1 import shard_pb2

from cdp_store.memory.discovery import Seen, seen_attributes, seen_events
from cdp_store.partition.partition import Partition


def met_by(partition: Partition) -> shard_pb2.DiscoverNamesResponse:
    """Events, properties and attributes of one partition."""
    view, found = partition.capture(), shard_pb2.DiscoverNamesResponse()
    for each in seen_events(view, partition.key):
        found.events.add(name=each.name, count=each.count, first_ms=each.first_ms, last_ms=each.last_ms)
        found.properties.extend(_met(each.name, seen) for seen in each.properties)
    found.properties.extend(_met("", seen) for seen in seen_attributes(view, partition.key))
    return found


def _met(event: str, seen: Seen) -> shard_pb2.MetProperty:
    return shard_pb2.MetProperty(
        event=event,
        name=seen.name,
        kinds={int(kind): count for kind, count in seen.types.items()},
        distinct=seen.distinct,
        hashes=() if seen.hashes is None else seen.hashes.tolist(),
        first_ms=seen.first_ms,
        last_ms=seen.last_ms,
    )
