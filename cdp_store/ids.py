"""Typed ids that are never mixed."""

from __future__ import annotations

import re
from typing import Final, NewType

PartitionId = NewType("PartitionId", int)
SequenceNumber = NewType("SequenceNumber", int)
AttributeId = NewType("AttributeId", int)

USER_ID: Final = "user_id"
ANONYMOUS_ID: Final = "anonymous_id"
EMAIL: Final = "email"
_TAG_OF_KIND: Final = {USER_ID: b"u", ANONYMOUS_ID: b"a", EMAIL: b"e"}
TAGGED_KINDS: Final = tuple(_TAG_OF_KIND)
CUSTOM_TAG: Final = b"c"
KIND_END: Final = ":"  # no kind holds it: what stands behind the first one is the value
IDENTIFIER_TAGS: Final = (*_TAG_OF_KIND.values(), CUSTOM_TAG)
_KIND_OF_TAG: Final = {tag: kind for kind, tag in _TAG_OF_KIND.items()}
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

# A profile on its way to another partition keeps its identifier, with the tag in upper case: nobody looks that up.
LOWER_CASE: Final = 0x20
assert all(tag[0] & LOWER_CASE for tag in IDENTIFIER_TAGS)


def is_identifier_kind(kind: str) -> bool:
    """True if a kind of identifiers can have this name."""
    return _KIND.fullmatch(kind) is not None


def encode_identifier(kind: str, value: str) -> bytes:
    """Bytes under which an identifier is hashed, logged and indexed: one tag byte, then the value as UTF-8; a kind
    without a tag of its own stands before the value."""
    tag = _TAG_OF_KIND.get(kind)
    return tag + value.encode() if tag else CUSTOM_TAG + f"{kind}{KIND_END}{value}".encode()


def decode_identifier(encoded: bytes) -> tuple[str, str]:
    """(kind, value) of an identifier's stored bytes."""
    tag, rest = bytes([encoded[0] | LOWER_CASE]), encoded[1:].decode()
    if tag == CUSTOM_TAG:
        kind, _, value = rest.partition(KIND_END)
        return kind, value
    return _KIND_OF_TAG[tag], rest


def rank_of_kind(kind: str) -> tuple[int, str]:
    """The identifier of the least rank names the profile; an anonymous id only where there is nothing else."""
    return {USER_ID: 0, EMAIL: 1, ANONYMOUS_ID: 3}.get(kind, 2), kind if kind not in _TAG_OF_KIND else ""
