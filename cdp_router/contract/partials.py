"""Partials between shard and router."""

from __future__ import annotations

from collections.abc import Iterable

from cdp.v1 import ingest_pb2, query_pb2, shard_pb2

from cdp_query.bind.names import Names
from cdp_query.language.mistyped import HeldKinds
from cdp_query.partial import Partial
from cdp_query.stats import NodeStats
from cdp_router.contract.key_values import from_key_value, to_key_value
from cdp_router.contract.report_codec import from_part, to_part
from cdp_store.values import Kind


def to_evaluation(partial: Partial, answered: Iterable[ingest_pb2.PartitionPosition]) -> shard_pb2.EvaluateResponse:
    """Message of a merged partial and the partitions it covers."""
    counters = [
        shard_pb2.NodeCounters(
            node=node,
            chunks=stats.chunks,
            chunks_pruned=stats.chunks_pruned,
            events=stats.events,
            bytes=stats.bytes,
            rows_true=stats.rows_true,
            type_mismatches=stats.type_mismatch,
            nanoseconds=stats.nanoseconds,
            rows=stats.rows,
            evaluations=stats.evaluations,
            truncated=stats.truncated,
        )
        for node, stats in partial.stats.items()
    ]
    values = [query_pb2.BreakdownRow(value=to_key_value(key), count=size) for key, size in partial.values.items()]
    return shard_pb2.EvaluateResponse(
        answered=answered,
        population=partial.population,
        count=partial.count,
        steps=partial.steps,
        values=values,
        known=to_names(partial.known),
        counters=counters,
        report=to_part(partial.report),
        values_rest=partial.rest,
    )


def from_evaluation(message: shard_pb2.EvaluateResponse) -> Partial:
    """Partial of a message."""
    stats = {
        counters.node: NodeStats(
            counters.chunks,
            counters.chunks_pruned,
            counters.events,
            counters.bytes,
            counters.rows_true,
            counters.type_mismatches,
            counters.nanoseconds,
            counters.rows,
            counters.evaluations,
            counters.truncated,
        )
        for counters in message.counters
    }
    values = {from_key_value(row.value): row.count for row in message.values}
    return Partial(
        message.population,
        message.count,
        tuple(message.steps),
        values,
        from_names(message.known),
        stats,
        from_part(message.report),
        message.values_rest,
    )


def to_names(names: Names) -> shard_pb2.KnownNames:
    """Message of names."""
    return shard_pb2.KnownNames(
        events=sorted(names.events), properties=sorted(names.properties), attributes=sorted(names.attributes)
    )


def from_names(message: shard_pb2.KnownNames) -> Names:
    """Names of a message."""
    return Names(frozenset(message.events), frozenset(message.properties), frozenset(message.attributes))


def to_held_kinds(held: HeldKinds) -> list[shard_pb2.HeldKinds]:
    """Messages of the kinds under names."""
    return [
        shard_pb2.HeldKinds(attribute=is_attribute, name=name, kinds=sorted(map(int, kinds)))
        for (is_attribute, name), kinds in held.items()
    ]


def from_held_kinds(messages: Iterable[shard_pb2.HeldKinds]) -> HeldKinds:
    """Kinds under names, of several partitions together."""
    found = dict[tuple[bool, str], frozenset[Kind]]()
    for message in messages:
        own = message.attribute, message.name
        found[own] = found.get(own, frozenset()) | frozenset(map(Kind, message.kinds))
    return found
