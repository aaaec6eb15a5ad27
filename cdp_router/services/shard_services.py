"""The two services of a shard, made from the table of its methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from cdp_router.cluster.shard_methods import (
    EVALUATE,
    METHODS,
    SHARD_SERVICES,
    Method,
    Request,
    Response,
    StreamMethod,
    UnaryMethod,
)
from cdp_router.contract.arrow_streams import Pieces
from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.rpc.threaded_calls import Checkpoint
from cdp_router.shard.grpc_shard_client import PIPED
from cdp_router.shard.handlers import Handlers
from cdp_router.shard.server import ShardServer


def add_shard_services(server: ShardServer, serving: grpc.aio.Server) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
    """Adds the services of a shard to a gRPC server; returns handlers of the methods for pipes, by path."""
    handlers = Handlers(server)
    made = {each: _handler(each, handlers) for each in METHODS}
    for service in SHARD_SERVICES:
        named = {each.name: handler for each, handler in made.items() if each.service == service}
        serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, named),))
        serving.add_registered_method_handlers(service, named)
    return {each.path: made[each] for each in PIPED}


def threaded_handlers(server: ShardServer) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
    """Handlers, by path, of the methods that threads answer: functions of a request and a checkpoint."""
    answering: dict[Method[Any, Any], Callable[[Any, Checkpoint], Any]] = {EVALUATE: server.evaluate_here}
    return {
        each.path: grpc.unary_unary_rpc_method_handler(answer, each.request.FromString, each.response.SerializeToString)
        for each, answer in answering.items()
    }


def _handler(method: Any, handlers: Handlers) -> grpc.RpcMethodHandler[Any, Any]:
    read, write = method.request.FromString, method.response.SerializeToString
    if isinstance(method, StreamMethod):
        return grpc.unary_stream_rpc_method_handler(_streaming(method, handlers), read, write)
    return grpc.unary_unary_rpc_method_handler(_answering(method, handlers), read, write)


def _answering(
    method: UnaryMethod[Request, Response], handlers: Handlers
) -> Callable[[Request, Context], Awaitable[Response]]:
    async def serve(request: Request, context: Context) -> Response:
        return await handlers.call(method, request, _deadline(context))

    return serve


def _streaming(
    method: StreamMethod[Request, Response], handlers: Handlers
) -> Callable[[Request, Context], AsyncIterator[Response | Pieces]]:
    async def serve(request: Request, context: Context) -> AsyncIterator[Response | Pieces]:
        async for response in handlers.stream(method, request, _deadline(context)):
            yield response

    return serve


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
