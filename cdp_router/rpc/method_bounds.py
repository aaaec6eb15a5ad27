"""Bounds of each method: its time and the size of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cdp_router.cluster.shard_methods import SHARD_SERVICES
from cdp_router.limits import (
    LONG_SECONDS_MAX,
    MESSAGE_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUEST_SECONDS_MAX,
    SHARD_MESSAGE_BYTES_MAX,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one method; no seconds for a stream that lasts as long as its client wants."""

    request_bytes: int
    seconds: float | None


_USUAL: Final = Bounds(REQUEST_BYTES_MAX, REQUEST_SECONDS_MAX)
_INTERNAL: Final = Bounds(SHARD_MESSAGE_BYTES_MAX, LONG_SECONDS_MAX)
_LONG: Final = Bounds(REQUEST_BYTES_MAX, LONG_SECONDS_MAX)
_OTHERS: Final[Mapping[str, Bounds]] = {
    "/cdp.v1.IngestService/Ingest": Bounds(MESSAGE_BYTES_MAX, REQUEST_SECONDS_MAX),
    "/cdp.v1.IngestService/IngestStream": Bounds(MESSAGE_BYTES_MAX, None),
    # Methods that read or write everything.
    "/cdp.v1.AdminService/GetDigest": _LONG,
    "/cdp.v1.AdminService/CreateSnapshot": _LONG,
    "/cdp.v1.AdminService/VerifySnapshots": _LONG,
    "/cdp.v1.AdminService/PurgeErased": _LONG,
    "/cdp.v1.AdminService/EraseProfile": _LONG,
    "/cdp.v1.ExportService/ExportRecords": _LONG,
    "/cdp.v1.ProfileService/ExportProfile": _LONG,
    "/cdp.v1.QueryService/Members": _LONG,
    "/cdp.v1.SchemaService/DiscoverSchema": _LONG,
    "/cdp.v1.SchemaService/ForgetEvents": _LONG,
    "/cdp.v1.SchemaService/RedriveQuarantined": _LONG,
    "/cdp.v1.SchemaService/DropQuarantined": _LONG,
}


def bounds_of(path: str) -> Bounds:
    """Bounds of a method given as /service/method."""
    if path.split("/")[1] in SHARD_SERVICES:
        return _INTERNAL  # calls between processes of the cluster carry requests that were bounded on entry
    return _OTHERS.get(path, _USUAL)
