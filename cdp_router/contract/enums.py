"""Numbers of the contract's enums to our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cdp_router.errors import RequestInvalid

Ours = TypeVar("Ours")


def known(table: Mapping[Ours, Any], value: Any, path: str) -> Ours:
    """Our enum member of a wire number; RequestInvalid when it is unspecified or from a newer contract."""
    for ours, number in table.items():
        if number == value:
            return ours
    raise RequestInvalid(path, f"value {value} is unspecified or unknown")
