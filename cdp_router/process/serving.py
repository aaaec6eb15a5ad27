"""Common part of every serving process: a gRPC server with health and reflection, and its way to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cdp_router.limits import SHARD_MESSAGE_BYTES_MAX
from cdp_router.process.reflecting import enable_reflection
from cdp_router.process.supervised import report_ready, watch_standard_input
from cdp_router.rpc.blocking_pipes import CLIENT_PAYLOAD_BYTES_MAX
from cdp_router.rpc.chain import Chain, Observer
from cdp_router.rpc.gate import Gate
from cdp_router.rpc.large_requests import Readings
from cdp_router.rpc.pipe_server import PipeServer
from cdp_router.rpc.record import Record
from cdp_router.rpc.threaded_calls import Workers
from cdp_router.rpc.threaded_pipes import ThreadedPipes
from cdp_router.security.tls.loopback import host_of_loopback

STOP_GRACE_SECONDS: Final = 5.0
_ONLY_AS_THEY_ARE: Final = 1  # of the bits for gRPC's ways to compress messages
_FLUSH_SECONDS: Final = 0.2  # for answers on their way out
SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", SHARD_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", SHARD_MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),  # a second server on a taken port must fail, not share it
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Compressed by gRPC, some kilobytes become a message of the largest size, and nothing here can know the small size.
    # Arrow columns may be compressed inside, because their sizes are read first.
    ("grpc.compression_enabled_algorithms_bitset", _ONLY_AS_THEY_ARE),
    # Clients spread over the routers of now, not over those of the time when they connected.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 3_600_000),
)


def _unregistered(service: str, handlers: Any) -> None:
    """Registers no methods: generic handlers have them all."""


class Serving:
    """A gRPC server that reports when it is ready and stops on request, or when its supervisor is gone."""

    def __init__(
        self,
        names: Sequence[str],
        observers: Sequence[Observer] = (),
        gate: Gate | None = None,
        credentials: grpc.ServerCredentials | None = None,
        record: Record | None = None,
        readings: Readings | None = None,
        request_bytes: int = SHARD_MESSAGE_BYTES_MAX,
    ) -> None:
        """`request_bytes` is the limit of every message, whatever its method; `readings` bounds those read at once."""
        self._chain, self._credentials = Chain(gate, observers, record, readings), credentials
        options = {**dict(SERVER_OPTIONS), "grpc.max_receive_message_length": request_bytes}
        self.server = grpc.aio.server(interceptors=[self._chain], options=tuple(options.items()))
        # For each registered method grpc.aio keeps a task that waits for a call of it, and looks at all of these tasks
        # whenever any call comes in.
        self.server.add_registered_method_handlers = _unregistered  # type: ignore[method-assign, assignment]
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._names = ("", *names)
        enable_reflection((*names, health.SERVICE_NAME), self.server)
        self._stopping = asyncio.Event()
        self._observers = observers
        self._pipes: PipeServer | None = None
        self._threaded: ThreadedPipes | None = None

    def add_pipes(self, secret: str, handlers: Mapping[str, Any]) -> None:
        """Serves unary methods over pipes as well, to processes of this machine that have the secret."""
        if self._credentials is None:  # certificates protect nothing that passes beside them
            methods = {path: self._chain.served(path, handler) for path, handler in handlers.items()}
            self._pipes = PipeServer(secret, methods)

    def add_threaded_pipes(self, secret: str, handlers: Mapping[str, Any], workers: Workers, at_once: int) -> None:
        """Serves methods that only compute over pipes of their own, on threads; `workers` do so many `at_once`."""
        if self._credentials is None:
            self._threaded = ThreadedPipes(secret, handlers, workers, at_once + 1, self._observers)

    def add_client_pipes(self, address: str, handlers: Mapping[str, Any]) -> None:
        """Serves unary methods that change nothing over pipes, to clients of this machine; the gate admits each call.

        Only where the address that clients know is one of this machine.
        """
        host = host_of_loopback(address)
        if self._credentials is None and host:
            methods = {path: self._chain.served(path, each, is_admitted=False) for path, each in handlers.items()}
            self._pipes = PipeServer("", methods, host, CLIENT_PAYLOAD_BYTES_MAX)

    def stop_soon(self) -> None:
        """Begins to stop; `run` returns when the last calls have ended."""
        self._stopping.set()

    async def run(self, address: str, *, is_alone: bool = False) -> None:
        """Serves until stopped by a signal, by `stop_soon`, or, unless alone, by the end of standard input."""
        port = self._listen(address)
        await self.server.start()
        if self._pipes is not None:
            await self._pipes.listen(port)
        if self._threaded is not None:
            await self._threaded.listen(port)
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop_soon)
        watching = None if is_alone else await watch_standard_input(self.stop_soon)
        report_ready(port)
        await self._stopping.wait()
        if watching is not None:
            watching()
        # Watchers of our health learn of it first, then running calls may end; the watchers would stay for ever.
        await self._health.enter_graceful_shutdown()
        threaded = () if self._threaded is None else (self._threaded.drain(STOP_GRACE_SECONDS),)
        await asyncio.gather(self._chain.drain(STOP_GRACE_SECONDS), *threaded)
        for pipes in (self._pipes, self._threaded):
            if pipes is not None:
                pipes.close()
        await self.server.stop(_FLUSH_SECONDS)

    def _listen(self, address: str) -> int:
        try:
            if self._credentials is None:
                return self.server.add_insecure_port(address)
            return self.server.add_secure_port(address, self._credentials)
        except RuntimeError as error:  # gRPC gives no reason
            raise RuntimeError("the port is in use, or the address is not of this machine; give another") from error
