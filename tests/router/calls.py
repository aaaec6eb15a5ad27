"""Calls of any method of the contract with any bytes and metadata, and what they end with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from tests.router.contract_rpcs import path_of

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended."""

    code: grpc.StatusCode
    status: status_pb2.Status | None
    responses: int = 0

    @property
    def reason(self) -> str:
        """The stable name behind the code; empty where all went well."""
        return self.info().reason

    def info(self) -> error_details_pb2.ErrorInfo:
        """What is said to machines."""
        found = error_details_pb2.ErrorInfo()
        for detail in self.status.details if self.status is not None else ():
            detail.Unpack(found)
        return found


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, raw: bytes, metadata: Any = ()) -> Ending:
    """The end of a call with these bytes."""
    path, count = path_of(method), 0
    options = {"timeout": _TIMEOUT_SECONDS, "metadata": tuple(metadata)}
    try:
        if method.client_streaming:
            async for _ in channel.stream_stream(path)(iter([raw]), **options):
                count += 1
        elif method.server_streaming:
            async for _ in channel.unary_stream(path)(raw, **options):
                count += 1
        else:
            await channel.unary_unary(path)(raw, **options)
            count = 1
    except grpc.aio.AioRpcError as error:
        details = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
        return Ending(error.code(), status_pb2.Status.FromString(details[0]) if details else None, count)
    return Ending(grpc.StatusCode.OK, None, count)
