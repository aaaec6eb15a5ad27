"""The profile a request names."""

from __future__ import annotations

from cdp.v1 import admin_pb2, profile_pb2, proof_pb2, query_pb2

from cdp_router.errors import RequestInvalid
from cdp_store.ids import USER_ID
from cdp_store.limits import IDENTIFIER_BYTES_MAX

Named = (
    query_pb2.GetProfileRequest | proof_pb2.ExplainUserRequest | admin_pb2.EraseProfileRequest | profile_pb2.ProfileName
)


def named(request: Named, path: str = "") -> tuple[str, str]:
    """(kind, value) of the identifier a request gives; RequestInvalid, below `path`, where no profile can have it."""
    kind = request.WhichOneof("identifier")
    if kind is None:
        raise RequestInvalid(f"{path}identifier", "user_id or anonymous_id must be given")
    value = request.user_id if kind == USER_ID else request.anonymous_id
    if not 0 < len(value.encode()) <= IDENTIFIER_BYTES_MAX:
        raise RequestInvalid(f"{path}{kind}", f"must have 1 to {IDENTIFIER_BYTES_MAX} bytes")
    return kind, value
