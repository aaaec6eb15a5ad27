"""The same call to every shard under one deadline; the failure of a shard is a value among the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import grpc

from cdp_router.background import awaited
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.errors import DeadlineMissed, RouterError, ShardUnavailable, WrongEpoch

Response = TypeVar("Response")
_ANSWERS_OF_THE_SHARD = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,  # trying again would meet the same fault
)


Failure = grpc.aio.AioRpcError | WrongEpoch | None  # None: no address of the shard is known


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Response]):
    """Answers by shard, and the reasons of the shards without one; refusals in this process are no failed calls."""

    answers: Mapping[int, Response]
    failures: Mapping[int, grpc.aio.AioRpcError]
    refusals: Mapping[int, WrongEpoch]


def failed(
    failures: Mapping[int, Failure], shards: Mapping[int, ShardClient], missing: Mapping[int, Sequence[int]]
) -> RouterError | grpc.aio.AioRpcError:
    """The error that represents failed shards: a deliberate one of a shard, or one with the missing partitions."""
    for failure in failures.values():
        if isinstance(failure, grpc.aio.AioRpcError) and failure.code() in _ANSWERS_OF_THE_SHARD:
            return failure
    problems = [_problem(shard, shards, failure) for shard, failure in sorted(failures.items())]
    if all(_is_late(failure) for failure in failures.values()):
        return DeadlineMissed(f"{'; '.join(problems)}; allow more time or ask for less")
    return ShardUnavailable(problems, sorted(number for shard in failures for number in missing.get(shard, ())))


def _is_late(failure: Failure) -> bool:
    return isinstance(failure, grpc.aio.AioRpcError) and failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _problem(shard: int, shards: Mapping[int, ShardClient], failure: Failure) -> str:
    if failure is None:
        return f"shard {shard} has no known address"
    where = f"shard {shard} at {shards[shard].address}"
    if isinstance(failure, WrongEpoch):
        return f"{where} did not finish taking partitions over in time"
    if _is_late(failure):
        return f"{where} did not answer in time"
    if failure.code() is grpc.StatusCode.UNAVAILABLE:
        return f"{where} cannot be reached"
    return f"{where} failed: {failure.details()}"


async def scatter(
    shards: Mapping[int, ShardClient], call: Callable[[int, ShardClient], Awaitable[Response]]
) -> Gathered[Response]:
    """Calls every shard at the same time and waits for all."""
    results = await _together(shards, call)
    answers, failures, refusals = dict[int, Response](), dict[int, grpc.aio.AioRpcError](), dict[int, WrongEpoch]()
    for number, result in results.items():
        if isinstance(result, grpc.aio.AioRpcError):
            failures[number] = result
        elif isinstance(result, WrongEpoch):
            refusals[number] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            answers[number] = result
    return Gathered(answers, failures, refusals)


async def _together(
    shards: Mapping[int, ShardClient], call: Callable[[int, ShardClient], Awaitable[Response]]
) -> dict[int, Response | BaseException]:
    """Results or errors of all calls. One that has been sent needs no task to wait with the others."""
    begun, results = dict[int, Any](), dict[int, Response | BaseException]()
    try:
        for number, shard in shards.items():
            each = call(number, shard)
            # Calls that are under way can be cancelled; the others are coroutines.
            begun[number] = each if hasattr(each, "cancel") else awaited(cast("Coroutine[Any, Any, Response]", each))
        for number, each in begun.items():
            try:
                results[number] = await each
            except Exception as error:  # noqa: BLE001 - the caller decides about each
                results[number] = error
        return results
    except BaseException:
        for each in begun.values():
            each.cancel()
        tasks = [each for each in begun.values() if isinstance(each, asyncio.Task)]
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def as_they_come(
    streams: Mapping[int, AsyncGenerator[Response, None]], ahead: int
) -> AsyncIterator[tuple[int, Response | grpc.aio.AioRpcError]]:
    """(shard, response) of several streams read at the same time; a stream that fails ends with its error.

    At most `ahead` responses wait for the reader; the shards wait beyond.
    """
    waiting = asyncio.Queue[tuple[int, Response | grpc.aio.AioRpcError] | None]()
    room = asyncio.Semaphore(ahead)

    async def pump(shard: int, stream: AsyncGenerator[Response, None]) -> None:
        try:
            async with aclosing(stream):
                async for response in stream:
                    await room.acquire()
                    waiting.put_nowait((shard, response))
        except grpc.aio.AioRpcError as failure:
            waiting.put_nowait((shard, failure))
        finally:
            waiting.put_nowait(None)

    pumps = [awaited(pump(shard, stream)) for shard, stream in streams.items()]
    try:
        for _ in streams:
            while (received := await waiting.get()) is not None:
                yield received
                room.release()
        await asyncio.gather(*pumps)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
