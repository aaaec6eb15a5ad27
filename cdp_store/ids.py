"""Typed ids that are never mixed."""

from __future__ import annotations

from typing import Final, NewType

PartitionId = NewType("PartitionId", int)
SequenceNumber = NewType("SequenceNumber", int)
AttributeId = NewType("AttributeId", int)

USER_ID: Final = "user_id"
ANONYMOUS_ID: Final = "anonymous_id"
_TAG_OF_KIND: Final = {USER_ID: b"u", ANONYMOUS_ID: b"a"}
IDENTIFIER_KINDS: Final = tuple(_TAG_OF_KIND)
IDENTIFIER_TAGS: Final = tuple(_TAG_OF_KIND.values())
_KIND_OF_TAG: Final = {tag: kind for kind, tag in _TAG_OF_KIND.items()}


def encode_identifier(kind: str, value: str) -> bytes:
    """Bytes under which an identifier is hashed, logged and indexed: one tag byte, then the value as UTF-8."""
    return _TAG_OF_KIND[kind] + value.encode()


def decode_identifier(encoded: bytes) -> tuple[str, str]:
    """(kind, value) of an identifier's stored bytes."""
    return _KIND_OF_TAG[encoded[:1]], encoded[1:].decode()
