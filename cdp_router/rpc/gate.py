"""Gate: decides which caller may call which method."""

from __future__ import annotations

from typing import Protocol

import grpc

from cdp_router.rpc.call import Call


class Gate(Protocol):
    """Admits a call, or raises the RouterError that ends it. Health and reflection do not pass here."""

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Decides by the method and the metadata, and records the caller in the call."""

    def renew(self, call: Call) -> None:
        """Decides again, for the next message of a stream, in either direction."""


class OpenGate:
    """Admits everybody: right only on the loopback address, for processes of this machine."""

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Does nothing: everybody is admitted."""

    def renew(self, call: Call) -> None:
        """Does nothing: everybody is admitted."""
