"""Gate: decides which caller may call which method."""

from __future__ import annotations

from typing import Protocol

import grpc

from cdp_router.rpc.call import Call


class Gate(Protocol):
    """Lets a call in, or raises the RouterError it ends with. Health and reflection do not pass here."""

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Decide by the method and what the caller sent with it, and note in the call who that is."""

    def renew(self, call: Call) -> None:
        """Decide again, for the next message of a stream, whichever way it goes."""


class OpenGate:
    """Lets everybody in: right only on the loopback address, where processes of this machine call."""

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Nothing to decide."""

    def renew(self, call: Call) -> None:
        """Nothing to decide."""
