"""Masking of one person's profile for keys without profile-read: everything but the personal values is shown."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Final

from cdp.v1 import ingest_pb2, proof_pb2, query_pb2

from cdp_router.security.privacy.privacy import Privacy

MASKED: Final = ingest_pb2.Value(text="(personal)")


def mask_profile(profile: query_pb2.GetProfileResponse, privacy: Privacy) -> None:
    """Masks identifiers of marked kinds, marked attributes, and marked properties of events."""
    mask_identifiers(profile.identifiers, privacy)
    _mask_values(profile.attributes, "", privacy)
    mask_events(profile.events, privacy)


def mask_events(events: Iterable[query_pb2.ProfileEvent], privacy: Privacy) -> None:
    """Masks marked properties, and the source identifiers of events if their kind is marked."""
    for event in events:
        _mask_values(event.properties, "", privacy)
        if event.origin.HasField("source"):
            mask_identifiers([event.origin.source], privacy)


def mask_identifiers(identifiers: Iterable[query_pb2.Identifier], privacy: Privacy) -> None:
    """Mask values of marked kinds."""
    for identifier in identifiers:
        if privacy.is_personal(identifier.kind):
            identifier.value = MASKED.text


def mask_proof(node: proof_pb2.ProofNode, privacy: Privacy) -> None:
    """Masks the events next to the deciding ones; a question about personal values gets no proof at all."""
    mask_events(node.events, privacy)
    for part in node.parts:
        mask_proof(part, privacy)


def _mask_values(values: MutableMapping[str, ingest_pb2.Value], above: str, privacy: Privacy) -> None:
    for name in values:
        _mask_value(values[name], above + name, privacy)


def _mask_value(value: ingest_pb2.Value, name: str, privacy: Privacy) -> None:
    """Masks a value under a marked name, or the marked parts inside of it."""
    if privacy.is_personal(name):
        value.CopyFrom(MASKED)
        return
    match value.WhichOneof("kind"):
        case "list":
            for item in value.list.items:
                _mask_value(item, name, privacy)
        case "map":
            _mask_values(value.map.fields, f"{name}.", privacy)
