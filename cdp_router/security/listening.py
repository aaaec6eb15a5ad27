"""Where a router may listen."""

from __future__ import annotations

from cdp_router.errors import RequestInvalid
from cdp_router.security.loopback import is_loopback


def check_listening(address: str, *, has_keys: bool) -> None:
    """RequestInvalid for an address that others can reach where nobody is asked for a key."""
    host = address.rpartition(":")[0].strip("[]")
    if not has_keys and not is_loopback(host):
        raise RequestInvalid(
            "address",
            f"{host} can be reached by others, and no API keys are asked for: without keys only loopback addresses "
            "are served. Make a key first with `cdp keys create NAME --role ROLE --data DIRECTORY`",
        )
