"""Record of what was done on whose behalf."""

from __future__ import annotations

from typing import Protocol

from cdp_router.rpc.call import Call


class Record(Protocol):
    """Is told of every call, and may refuse to let go on what it cannot keep: it raises the RouterError then."""

    async def begun(self, call: Call) -> None:
        """A call was let in, and its request is read."""

    async def ended(self, call: Call) -> None:
        """A call has ended as call.reason says; nothing of that is told the caller yet."""


class NoRecord:
    """Keeps nothing."""

    async def begun(self, call: Call) -> None:
        """Nothing is kept."""

    async def ended(self, call: Call) -> None:
        """Nothing is kept."""
