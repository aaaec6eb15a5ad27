"""The fields of Segment's calls, decoded without those that are not stored; the usual ones with their types checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec


class Library(msgspec.Struct, gc=False):
    """Library of a client, as the client names it."""

    name: str | None = None
    version: str | None = None


class CallContext(msgspec.Struct, rename="camel", gc=False):
    """Part of a call's context that is used."""

    traits: Any = None
    external_ids: Any = None
    library: Library | None = None


class Call(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """A call as sent: nothing is checked."""

    type: Any = None
    event: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    message_id: Any = None
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None
    name: Any = None
    category: Any = None
    group_id: Any = None
    previous_id: Any = None
    channel: Any = None

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Call:
        """The fields of an object that was read as JSON."""
        return cls(**{name: given.get(key) for name, key in _KEYS})


_KEYS: Final = tuple(zip(Call.__struct_fields__, Call.__struct_encode_fields__, strict=True))


class UsualCall(Call, rename="camel", gc=False, kw_only=True):
    """A call whose fields have the types that the libraries send."""

    message_id: Annotated[str, msgspec.Meta(min_length=1)]
    type: str
    event: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    sent_at: str | int | float | None = None
    properties: dict[str, Any] | None = None
    context: CallContext | None = None


class UsualBatch(msgspec.Struct, rename="camel"):
    """A batch of such calls."""

    batch: list[UsualCall]
    sent_at: Any = None
    context: Any = None
    write_key: Any = None
    api_key: Any = msgspec.field(default=None, name="api_key")
    token: Any = None

    def shown(self) -> dict[str, Any]:
        """The fields of the body that may hold a key."""
        return {"writeKey": self.write_key, "api_key": self.api_key, "token": self.token}


_DECODER: Final = msgspec.json.Decoder(UsualBatch)


def usual_batch(body: bytes) -> UsualBatch | None:
    """The batch of a body; None if anything in it is unusual: the path of all other bodies then names the fault."""
    try:
        batch = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if batch.context else batch
