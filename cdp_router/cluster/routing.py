"""A request's path to the shards that answer for its partitions, while partitions may move.

Each call states its partitions and their epochs in the map. A shard at another epoch refuses and returns what it knows.
The map gets newer, and only the refused partitions are requested again. So every partition is answered for once, by its
one holder of that epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, cast

import grpc
from google.protobuf.message import Message

from cdp_router.cluster.partition_map import PartitionMap
from cdp_router.cluster.scatter import Failure, Gathered, as_they_come, failed, scatter
from cdp_router.cluster.shard_client import ShardClient, begin
from cdp_router.cluster.shard_methods import (
    Method,
    Request,
    Response,
    StreamMethod,
    UnaryMethod,
    of_partitions,
)
from cdp_router.cluster.topology import ClusterFile
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.contract.status import mismatch_of
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError, WrongEpoch

# A request that is the same for every shard but for its partitions, or a function that makes one about some of them.
Asked: TypeAlias = Request | Callable[[Sequence[PartitionClaim]], Request]

_PAUSE_SECONDS: Final = 0.002  # about as long as a partition changes its holder
_PAUSE_SECONDS_MAX: Final = 0.1


@dataclass(frozen=True, slots=True)
class Answers(Generic[Response]):
    """Answers that cover each partition at most once; by shard, the reason for none, and the partitions concerned."""

    answers: Sequence[Response]
    failures: Mapping[int, Failure]
    missing: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Refused:
    """A shard's refusal, as a value."""

    error: WrongEpoch


class Routing:
    """The shards of a cluster, and the newest map of its partitions that this router knows."""

    def __init__(self, cluster: ClusterFile, shards: Mapping[int, ShardClient]) -> None:
        self.cluster, self.shards = cluster, shards
        self.map = PartitionMap(cluster)
        self._addresses = dict[tuple[Method[Any, Any], int], tuple[Sequence[PartitionClaim], Message]]()

    async def gather(
        self,
        method: UnaryMethod[Request, Response],
        request: Asked[Request],
        deadline: Deadline,
        partitions: Iterable[int] | None = None,
    ) -> Answers[Response]:
        """Asks all shards about some or all partitions at the same time; a failed one is not asked again."""
        asked = self.map.everything if partitions is None else self.map.by_shard(sorted(partitions))
        waiting, pause = set[int](), _PAUSE_SECONDS
        answers, failures, missing = list[Response](), dict[int, Failure](), dict[int, list[int]]()
        while True:
            outcomes = await self._outcomes(asked, method, request, deadline)
            whole = [each for each in outcomes.values() if isinstance(each, method.response)]
            if len(whole) == len(outcomes) and not (answers or failures):
                return Answers(whole, failures, missing)
            refused = [outcome.error for outcome in outcomes.values() if isinstance(outcome, _Refused)]
            is_over = not deadline.remaining()
            waiting.clear()
            for shard, outcome in outcomes.items():
                own = [claim.partition for claim in asked[shard]]
                if isinstance(outcome, _Refused) and not is_over:
                    waiting.update(own)
                elif outcome is None or isinstance(outcome, grpc.aio.AioRpcError | _Refused):
                    failures[shard] = outcome.error if isinstance(outcome, _Refused) else outcome
                    missing.setdefault(shard, []).extend(own)
                else:
                    answers.append(outcome)
            if not waiting:
                return Answers(answers, failures, missing)
            if not self.learn(refused):
                await asyncio.sleep(min(pause, deadline.remaining()))
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            asked = self.map.by_shard(sorted(waiting))

    async def complete(
        self, method: UnaryMethod[Request, Response], request: Asked[Request], deadline: Deadline
    ) -> Sequence[Response]:
        """Answers for all partitions, or the error that names the missing ones."""
        return self._whole(await self.gather(method, request, deadline))

    async def one(
        self, method: UnaryMethod[Request, Response], request: Asked[Request], deadline: Deadline, partition: int
    ) -> Response:
        """Asks the holder of one partition."""
        return self._whole(await self.gather(method, request, deadline, [partition]))[0]

    async def everywhere(
        self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline
    ) -> Gathered[Response]:
        """Asks every shard as such, whatever partitions it holds."""
        return await scatter(self.shards, lambda _, shard: shard.call(method, request, deadline))

    async def stream(
        self, method: StreamMethod[Request, Response], request: Asked[Request], deadline: Deadline, ahead: int
    ) -> AsyncIterator[Response]:
        """Responses of streams that together cover every partition, as they arrive, at most `ahead` of the reader.

        A shard refuses another epoch before it answers anything. The first failed stream ends all with its error.
        """
        waiting, pause = set(self.map.partitions), _PAUSE_SECONDS
        while waiting:
            asked, refused = self.map.by_shard(sorted(waiting)), list[WrongEpoch]()
            unknown: dict[int, Failure] = {shard: None for shard in asked if shard not in self.shards}
            if unknown:
                raise self._failed(unknown)
            streams = {
                shard: _refusable(self.shards[shard].stream(method, self._request(method, request, claims), deadline))
                for shard, claims in asked.items()
            }
            waiting.clear()
            async for shard, response in as_they_come(streams, ahead):
                if isinstance(response, WrongEpoch):
                    refused.append(response)
                    waiting.update(claim.partition for claim in asked[shard])
                elif isinstance(response, grpc.aio.AioRpcError):
                    raise self._failed({shard: response}) from response
                else:
                    yield response
            if waiting and not deadline.remaining():
                raise self._failed({self.map.claim(number).shard: refused[-1] for number in waiting})
            if waiting and not self.learn(refused):
                await asyncio.sleep(min(pause, deadline.remaining()))
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def learn(self, refused: Iterable[WrongEpoch]) -> bool:
        """Merges the claims of refusals into the map; True if any was new."""
        return self.map.merge(claim for refusal in refused for claim in refusal.claims)

    def whole(self, gathered: Gathered[Response]) -> Mapping[int, Response]:
        """The answers of shards asked as such if all gave one, or the error that names the others."""
        if gathered.failures:
            raise self._failed(gathered.failures)
        return gathered.answers

    def error(self, found: Answers[Response]) -> RouterError | grpc.aio.AioRpcError:
        """The error that represents the failures; ShardUnavailable names the missing partitions."""
        return failed(found.failures, self.shards, found.missing)

    def _failed(self, failures: Mapping[int, Failure]) -> RouterError | grpc.aio.AioRpcError:
        return failed(failures, self.shards, {shard: self.map.partitions_of(shard) for shard in failures})

    def _whole(self, found: Answers[Response]) -> Sequence[Response]:
        if found.failures:
            raise self.error(found)
        return found.answers

    def _request(
        self, method: Method[Request, Response], asked: Asked[Request], claims: Sequence[PartitionClaim]
    ) -> Request:
        """The request about some partitions; each shard gets one of its own."""
        if callable(asked):
            request = asked(claims)
        else:
            request = method.request()
            request.CopyFrom(asked)
            how: object = method.address
            if how is of_partitions:
                request.MergeFrom(self._addressed(method, claims))
                return request
        method.address(request, self.cluster.cluster, claims)
        return request

    def _addressed(self, method: Method[Request, Response], claims: Sequence[PartitionClaim]) -> Request:
        """An otherwise empty request about some partitions; kept where they are all of a shard, as in every question.

        The map has a list of them, which is another one once the map is newer.
        """
        shard, request = claims[0].shard, method.request()
        kept = self._addresses.get((method, shard))
        if kept is not None and kept[0] is claims:
            return cast("Request", kept[1])
        method.address(request, self.cluster.cluster, claims)
        if claims is self.map.everything.get(shard):
            self._addresses[method, shard] = claims, request
        return request

    async def _outcomes(
        self,
        asked: Mapping[int, Sequence[PartitionClaim]],
        method: UnaryMethod[Request, Response],
        request: Asked[Request],
        deadline: Deadline,
    ) -> dict[int, Response | _Refused | grpc.aio.AioRpcError | None]:
        known = {shard: self.shards[shard] for shard in asked if shard in self.shards}
        gathered = await scatter(
            known, lambda shard, client: begin(client, method, self._request(method, request, asked[shard]), deadline)
        )
        if len(gathered.answers) == len(asked):
            return dict(gathered.answers)
        failed_calls: dict[int, grpc.aio.AioRpcError | WrongEpoch] = {**gathered.failures, **gathered.refusals}
        failures = {shard: _outcome(failure) for shard, failure in failed_calls.items()}
        return {shard: gathered.answers.get(shard, failures.get(shard)) for shard in asked}


def _outcome(failure: grpc.aio.AioRpcError | WrongEpoch) -> _Refused | grpc.aio.AioRpcError:
    refusal = failure if isinstance(failure, WrongEpoch) else mismatch_of(failure)
    if refusal is not None:
        return _Refused(refusal)
    assert isinstance(failure, grpc.aio.AioRpcError)
    return failure


async def _refusable(stream: AsyncGenerator[Response, None]) -> AsyncGenerator[Response | WrongEpoch, None]:
    """The stream; a refusal of another epoch is its only response."""
    try:
        async with aclosing(stream):
            async for response in stream:
                yield response
    except WrongEpoch as refusal:
        yield refusal
    except grpc.aio.AioRpcError as error:
        refusal_of_call = mismatch_of(error)
        if refusal_of_call is None:
            raise
        yield refusal_of_call
