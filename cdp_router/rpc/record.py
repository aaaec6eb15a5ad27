"""Record of calls and their callers."""

from __future__ import annotations

from typing import Protocol

from cdp_router.rpc.call import Call


class Record(Protocol):
    """Records every call; raises the RouterError that ends a call which it could not record."""

    async def begun(self, call: Call) -> None:
        """Records a call that was admitted, with its request."""

    async def ended(self, call: Call) -> None:
        """Records the outcome of a call, call.reason, before the caller gets it."""


class NoRecord:
    """Keeps nothing."""

    async def begun(self, call: Call) -> None:
        """Does nothing."""

    async def ended(self, call: Call) -> None:
        """Does nothing."""
