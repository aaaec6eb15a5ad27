"""The profile a request names."""

from __future__ import annotations

from cdp.v1 import admin_pb2, profile_pb2, proof_pb2, query_pb2

from cdp_router.errors import RequestInvalid
from cdp_store.ids import USER_ID, is_identifier_kind
from cdp_store.limits import IDENTIFIER_BYTES_MAX

ProfileRequest = (
    query_pb2.GetProfileRequest | proof_pb2.ExplainUserRequest | admin_pb2.EraseProfileRequest | profile_pb2.ProfileName
)


def named(request: ProfileRequest, path: str = "") -> tuple[str, str]:
    """(kind, value) of the identifier in a request; RequestInvalid, below `path`, if no profile can have it."""
    kind = request.WhichOneof("identifier")
    if kind is None:
        raise RequestInvalid(f"{path}identifier", "user_id, anonymous_id or another identifier must be given")
    if kind == "other":
        return checked(request.other, f"{path}other")
    value = request.user_id if kind == USER_ID else request.anonymous_id
    if not 0 < len(value.encode()) <= IDENTIFIER_BYTES_MAX:
        raise RequestInvalid(f"{path}{kind}", f"must have 1 to {IDENTIFIER_BYTES_MAX} bytes")
    return kind, value


def checked(identifier: query_pb2.Identifier, path: str) -> tuple[str, str]:
    """(kind, value) of an identifier of any kind; RequestInvalid if it is not a possible one."""
    if not is_identifier_kind(identifier.kind):
        raise RequestInvalid(f"{path}.kind", f"{identifier.kind!r} is no name of a kind: a-z, 0-9, _")
    if not 0 < len(identifier.value.encode()) <= IDENTIFIER_BYTES_MAX:
        raise RequestInvalid(f"{path}.value", f"must have 1 to {IDENTIFIER_BYTES_MAX} bytes")
    return identifier.kind, identifier.value
