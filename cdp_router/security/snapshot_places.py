"""Places to which the holder of an admin key may have snapshots copied, as the operator of the router allows."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from cdp_router.errors import RequestInvalid

PLACES: Final = "CDP_SNAPSHOT_PLACES"


def allowed_places(environment: Mapping[str, str] = os.environ) -> Sequence[str]:
    """Folders and URIs that snapshots may be copied below; empty: any."""
    return tuple(each.strip() for each in environment.get(PLACES, "").split(",") if each.strip())


def check_place(destination: str, allowed: Sequence[str]) -> None:
    """Raises RequestInvalid if a destination lies below none of the allowed places, however it is written."""
    if not destination or not allowed:
        return
    wanted = _parts(destination)
    if not any(wanted is not None and wanted[: len(place)] == place for place in map(_parts, allowed) if place):
        raise RequestInvalid(
            "destination", f"snapshots may be copied below {', '.join(allowed)} only, as {PLACES} of the router states"
        )


def _parts(place: str) -> list[str] | None:
    """Scheme, host and folders of a place; None for a relative path, which would depend on the shard's directory."""
    scheme, _, rest = place.rpartition("://")
    path = unquote(rest.partition("?")[0]) if scheme else rest
    if not scheme and not path.startswith("/"):
        return None
    return [scheme.lower(), *(part for part in posixpath.normpath(f"/{path}").split("/") if part)]
