"""Partials between shard and router."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from cdp.v1 import ingest_pb2, shard_pb2

from cdp_query.bind.names import NO_NAMES, Names
from cdp_query.language.mistyped import HeldKinds
from cdp_query.partial import Partial, merge_all
from cdp_query.stats import NodeStats
from cdp_router.contract.report_codec import CODECS
from cdp_store.values import Kind


def to_evaluation(
    partial: Partial, answered: Iterable[ingest_pb2.PartitionPosition] = ()
) -> shard_pb2.EvaluateResponse:
    """Message of a merged partial and the partitions it covers."""
    message: shard_pb2.EvaluateResponse
    if partial.steps or partial.values or partial.rest or partial.report is not None:
        message = _EVALUATION.write(partial)
    else:
        # Written out, as in `merged`: nearly every question is one of these.
        message = shard_pb2.EvaluateResponse(population=partial.population, count=partial.count)
        for node, stats in partial.stats.items():
            message.counters.add(
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
        message.known.SetInParent()
        if partial.known is not NO_NAMES:
            message.known.CopyFrom(to_names(partial.known))
    message.answered.extend(answered)
    return message


def from_evaluation(message: shard_pb2.EvaluateResponse) -> Partial:
    """Partial of a message."""
    partial: Partial = _EVALUATION.read(message, "", 0)
    return partial


def merged(messages: Sequence[shard_pb2.EvaluateResponse]) -> Partial:
    """The contribution of all of them."""
    if any(each.steps or each.values or each.values_rest or each.HasField("report") for each in messages):
        return merge_all(map(from_evaluation, messages))
    population, count, known, stats = 0, 0, NO_NAMES, dict[int, NodeStats]()
    for message in messages:
        population += message.population
        count += message.count
        if message.HasField("known"):
            own = from_names(message.known)
            known = own if known is NO_NAMES else known.merge(own)
        for each in message.counters:
            counted = NodeStats(*_COUNTERS(each))
            if each.node in stats:
                stats[each.node].add(counted)
            else:
                stats[each.node] = counted
    return Partial(population, count, known=known, stats=stats)


def to_names(names: Names) -> shard_pb2.KnownNames:
    """Message of names."""
    message: shard_pb2.KnownNames = _NAMES.write(names)
    return message


def from_names(message: shard_pb2.KnownNames) -> Names:
    """Names of a message."""
    names: Names = _NAMES.read(message, "", 0)
    return names


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


_COUNTERS: Final = attrgetter(
    "chunks",
    "chunks_pruned",
    "events",
    "bytes",
    "rows_true",
    "type_mismatches",
    "nanoseconds",
    "rows",
    "evaluations",
    "truncated",
)  # in the order of NodeStats
_EVALUATION: Final = CODECS.of_message(Partial, shard_pb2.EvaluateResponse.DESCRIPTOR)
_NAMES: Final = CODECS.of_message(Names, shard_pb2.KnownNames.DESCRIPTOR)
