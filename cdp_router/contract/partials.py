"""Partials between shard and router."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cdp.v1 import ingest_pb2, shard_pb2

from cdp_query.bind.names import Names
from cdp_query.language.mistyped import HeldKinds
from cdp_query.partial import Partial
from cdp_router.contract.report_codec import CODECS
from cdp_store.values import Kind


def to_evaluation(partial: Partial, answered: Iterable[ingest_pb2.PartitionPosition]) -> shard_pb2.EvaluateResponse:
    """Message of a merged partial and the partitions it covers."""
    message: shard_pb2.EvaluateResponse = _EVALUATION.write(partial)
    message.answered.extend(answered)
    return message


def from_evaluation(message: shard_pb2.EvaluateResponse) -> Partial:
    """Partial of a message."""
    partial: Partial = _EVALUATION.read(message, "", 0)
    return partial


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


_EVALUATION: Final = CODECS.of_message(Partial, shard_pb2.EvaluateResponse.DESCRIPTOR)
_NAMES: Final = CODECS.of_message(Names, shard_pb2.KnownNames.DESCRIPTOR)
