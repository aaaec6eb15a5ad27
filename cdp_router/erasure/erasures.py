"""Erasure of a person through the router: everywhere, for good if requested, and with a receipt.

If several partitions know the person, the erasure is recorded before the first of them erases: whatever interrupts it
then, any router finishes it (`begun_erasures.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

import grpc
import numpy as np
from cdp.v1 import admin_pb2, query_pb2, shard_pb2

from cdp_router.cluster.partitioning import partitions_of_hashes
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import ERASE_PROFILES, PURGE_FILES, SCAN_FOR_IDENTIFIERS
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline
from cdp_router.erasure.begun_erasures import Begun, BegunErasures, shared_erasures
from cdp_router.erasure.suppressions import suppress
from cdp_router.errors import RouterError
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.identity.identities import Identities, Named
from cdp_router.identity.profile_reference import named
from cdp_store.errors import StoreError
from cdp_store.ids import USER_ID
from cdp_store.limits import ERASED_VALUES_MAX
from cdp_store.outside.seams import Clock, SystemClock

_LOG = logging.getLogger(__name__)
_FINISH_SECONDS: Final = 30.0  # between checks for erasures that a router did not finish
Receipt = admin_pb2.EraseProfileResponse


class _OthersBegan(Exception):
    """An erasure of the same people began after the look for such."""


@dataclass(slots=True)
class _Texts:
    """Keyed hashes of texts in a person's records, if they will be searched; and their number."""

    is_wanted: bool
    hashes: set[int] = field(default_factory=set)
    count: int = 0

    def add(self, told: shard_pb2.EraseProfilesResponse) -> None:
        """Adds those of one partition."""
        fresh = [value for value in told.values if value not in self.hashes]
        self.hashes.update(fresh[: ERASED_VALUES_MAX - len(self.hashes)])
        self.count += len(fresh) + told.value_count - len(told.values)


class Erasures:
    """Erases people, and finishes interrupted erasures."""

    def __init__(self, routing: Routing, clock: Clock | None = None, letters: DeadLetters | None = None) -> None:
        self._routing, self._clock, self._letters = routing, clock or SystemClock(), letters
        self._identities, self._begun = Identities(routing), shared_erasures(routing)

    async def erase(self, request: admin_pb2.EraseProfileRequest, deadline: Deadline) -> Receipt:
        """Erases the person that an identifier belongs to, with all identifiers and their links.

        Raises ShardUnavailable if a shard that knows any of it cannot be reached: the rest is then erased as soon as
        possible, or on the next request.
        """
        asked = named(request)
        receipt = Receipt(
            cluster=self._routing.cluster.cluster,
            time=to_timestamp(self._clock.now_ms()),
            asked=query_pb2.Identifier(kind=asked[0], value=asked[1]),
            partition=self._identities.home(asked),
        )
        start, texts = {asked, await self._identities.profile_of(asked, deadline)}, _Texts(request.purge)
        own = await self._forget(Begun(frozenset(start), request.suppress), deadline, receipt, texts)
        receipt.values, receipt.values_searched = texts.count, len(texts.hashes)
        receipt.identifiers = len(own)
        receipt.suppressed = len(own) if request.suppress else 0
        if request.purge:
            receipt.purges.extend(await purge_files(self._routing, deadline))
        await self._prove(own, texts, deadline, receipt)
        return receipt

    async def finish(self, deadline: Deadline, known: Collection[int] | None = None) -> set[int]:
        """Finishes all begun erasures, with `known` only those of these numbers; returns the numbers there were."""
        begun = (await self._begun.newest(deadline)).erasures
        for number, each in begun.items():
            if known is None or number in known:
                await self._forget(each, deadline, Receipt(), _Texts(is_wanted=False))
        return set(begun)

    async def keep_finished(self) -> None:
        """Finishes erasures that no request waits for, such as those of a router that died; runs until cancelled."""
        known = set[int]()
        while True:
            try:
                # One that is new since the last check is under way: its receipt must cover all of it.
                known = await self.finish(Deadline.after(None, _FINISH_SECONDS), known)
            except (RouterError, StoreError, grpc.aio.AioRpcError) as error:
                _LOG.warning("erasures still wait to be finished: %s", error)
            await asyncio.sleep(_FINISH_SECONDS)

    async def _forget(self, wanted: Begun, deadline: Deadline, receipt: Receipt, texts: _Texts) -> set[Named]:
        """Erases people with some identifiers, and those whose erasure has begun; returns all of their identifiers."""
        while True:
            try:
                return await self._forget_known(wanted, deadline, receipt, texts)
            except _OthersBegan:
                continue  # nothing has been erased; the next look finds them

    async def _forget_known(self, wanted: Begun, deadline: Deadline, receipt: Receipt, texts: _Texts) -> set[Named]:
        """Does the same, unless others of the same people begin meanwhile."""
        others = (await self._begun.newest(deadline)).about(wanted.identifiers)
        known = set(others)
        start = set(wanted.identifiers).union(*(each.identifiers for each in others.values()))
        must_suppress = wanted.suppress or any(each.suppress for each in others.values())
        own, partitions = await self._identities.mentions(start, deadline)
        number = await self._begin(own, must_suppress, known, deadline) if len(partitions) > 1 or others else None
        if must_suppress:
            await suppress(own, self._routing, deadline)
            # Nothing can be linked to them any more; links made meanwhile are known now.
            late, partitions = await self._identities.mentions(own, deadline)
            await suppress(late - own, self._routing, deadline)
            is_known, own = late <= own, own | late
            if (number is None and len(partitions) > 1) or not is_known:
                number = await self._begin(own, must_suppress, known, deadline)
        if len(own) > 1:
            await self._identities.settle(deadline)
        if number is None:
            told = await self._erase(own, min(partitions), deadline, receipt, texts, must_be_alone=True)
            if not told.refused:
                return await self._forgotten(own, receipt)
            # A link is on its way, or was logged a moment ago.
            own, partitions = await self._identities.mentions(own, deadline)
            number = await self._begin(own, must_suppress, known, deadline)
            await self._identities.settle(deadline)
        # What stopped half-way may have left links on their way to any partition.
        homes = set(range(self._routing.cluster.partitions)) if others else set[int]()
        # Seats of an identifier go before its home forgets it: links asked about later find none.
        lowers = {self._identities.home(each) for each in own if each[0] != USER_ID}
        for partition in sorted(partitions, key=lambda number: (number in lowers, number)):
            told = await self._erase(own, partition, deadline, receipt, texts)
            homes |= self._homes(told.strays)
        was_linked = len(own) > 1
        for partition in sorted(homes):
            told = await self._erase(own, partition, deadline, receipt, texts, must_remember=True)
            was_linked |= told.partition.identifiers > 0
        if was_linked:
            # Records may have followed a link from a partition that was still to be erased to one that had been.
            await self._identities.settle(deadline)
            for partition in sorted(partitions):
                await self._erase(own, partition, deadline, receipt, texts)
        await self._forgotten(own, receipt)
        await self._begun.change(lambda known: known.end(number), deadline)
        return own

    async def _forgotten(self, own: set[Named], receipt: Receipt) -> set[Named]:
        """Identifiers that are erased in all partitions, and in the dead letters too."""
        if self._letters is not None:
            receipt.dead_letters = await asyncio.to_thread(self._letters.forget, {value for _, value in own})
        return own

    async def _begin(self, own: Collection[Named], must_suppress: bool, known: set[int], deadline: Deadline) -> int:
        """Writes an erasure down. It takes in others of the same people, of which all must be `known`."""
        begun = Begun(frozenset(own), must_suppress)

        def begin(before: BegunErasures) -> tuple[tuple[int, bool], BegunErasures]:
            number, whole = before.begin(begun)
            return (number, known.issuperset(before.about(own))), whole

        number, are_known = await self._begun.change(begin, deadline)
        known.add(number)
        if not are_known:
            raise _OthersBegan
        return number

    def _homes(self, hashes: Iterable[int]) -> set[int]:
        """The home partitions of identifiers, by their keyed hashes."""
        found = partitions_of_hashes(np.array([*hashes], np.uint64), self._routing.cluster.partitions)
        return set(found.tolist())

    async def _erase(
        self,
        own: Collection[Named],
        partition: int,
        deadline: Deadline,
        receipt: Receipt,
        texts: _Texts,
        *,
        must_be_alone: bool = False,
        must_remember: bool = False,
    ) -> shard_pb2.EraseProfilesResponse:
        request = shard_pb2.EraseProfilesRequest(
            identifiers=_messages(own),
            with_values=texts.is_wanted,
            must_be_alone=must_be_alone,
            must_remember=must_remember,
        )
        response = await self._routing.one(ERASE_PROFILES, request, deadline, partition)
        texts.add(response)
        receipt.erased = receipt.erased or response.erased > 0
        if response.partition.identifiers:
            receipt.partitions.append(response.partition)
        if partition == receipt.partition and not response.refused:
            receipt.sequence = response.sequence
        return response

    async def _prove(self, own: Collection[Named], texts: _Texts, deadline: Deadline, receipt: Receipt) -> None:
        order = shard_pb2.ScanForIdentifiersRequest(
            cluster=self._routing.cluster.cluster,
            identifiers=_messages(own),
            with_files=texts.is_wanted,
            values=sorted(texts.hashes),
        )
        answers = self._routing.whole(await self._routing.everywhere(SCAN_FOR_IDENTIFIERS, order, deadline))
        receipt.scans.extend(answers[number].scan for number in sorted(answers))


async def purge_files(routing: Routing, deadline: Deadline) -> list[admin_pb2.ShardPurge]:
    """Makes every shard remove the remains of erased profiles from its files; all must answer."""
    order = shard_pb2.PurgeFilesRequest(cluster=routing.cluster.cluster)
    answers = routing.whole(await routing.everywhere(PURGE_FILES, order, deadline))
    return [answers[number].purge for number in sorted(answers)]


def _messages(own: Collection[Named]) -> list[query_pb2.Identifier]:
    return [query_pb2.Identifier(kind=kind, value=value) for kind, value in sorted(own)]
