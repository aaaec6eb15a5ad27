"""Proofs between shard, router and client."""

from __future__ import annotations

from cdp.v1 import ingest_pb2, proof_pb2

from cdp_query import tree
from cdp_query.language import print_heading
from cdp_query.proof import FoundValue, Proof, Verdict
from cdp_router.contract.values import to_timestamp, to_value
from cdp_router.questions.profile_reading import attribute_value, event_message
from cdp_store.memory.view import PartitionView


def to_response(
    verdict: Verdict, view: PartitionView, position: ingest_pb2.PartitionPosition, context: tree.Context
) -> proof_pb2.ExplainUserResponse:
    """Message of a verdict on one view."""
    names = {number: name for name, number in view.schema.events.items()}
    return proof_pb2.ExplainUserResponse(
        member=verdict.member,
        in_population=verdict.in_population,
        proof=_node(verdict.proof, view, names),
        as_of=to_timestamp(context.as_of_ms),
        tz=context.tz,
        position=position,
    )


def _node(proof: Proof, view: PartitionView, names: dict[int, str]) -> proof_pb2.ProofNode:
    return proof_pb2.ProofNode(
        text=print_heading(proof.node),
        holds=proof.holds,
        parts=[_node(part, view, names) for part in proof.parts],
        events=[
            event_message(view, event.time_ms, names[event.name], event.chunk, event.index) for event in proof.events
        ],
        event_count=proof.event_count,
        values=[_value(value, view) for value in proof.values],
    )


def _value(found: FoundValue, view: PartitionView) -> proof_pb2.AttributeValue:
    value = to_value(attribute_value(view, found.attribute, found.kind, found.raw))
    return proof_pb2.AttributeValue(since=to_timestamp(found.time_ms), value=value)
