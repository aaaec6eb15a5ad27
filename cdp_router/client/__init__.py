"""Library for applications: clients, background writers, typed results. It loads neither the engine nor the server."""

from cdp_router.client.aio import AsyncClient
from cdp_router.client.connection import Client
from cdp_router.client.failures import ClusterUnreachable, RequestFailed
from cdp_router.client.results import Answer, Event, Members, Profile
from cdp_router.client.writing.aio_writer import AsyncWriter
from cdp_router.client.writing.batching import Lost, QueueFull, Rejected, Warned, WriterClosed
from cdp_router.client.writing.outcomes import CallbackFailed, WriterBroken
from cdp_router.client.writing.writer import Writer
from cdp_router.security.tls.tls import Tls

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncWriter",
    "CallbackFailed",
    "Client",
    "ClusterUnreachable",
    "Event",
    "Lost",
    "Members",
    "Profile",
    "QueueFull",
    "Rejected",
    "RequestFailed",
    "Tls",
    "Warned",
    "Writer",
    "WriterBroken",
    "WriterClosed",
]
