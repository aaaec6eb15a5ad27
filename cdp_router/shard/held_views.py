"""Views that a shard holds between the two steps of a question while profiles move."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from cdp.v1 import moving_pb2 as pb

from cdp_router.errors import ViewsLost
from cdp_router.limits import HELD_VIEWS_MAX, HELD_VIEWS_SECONDS
from cdp_store.identity.transfers import TransferReading
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition

Captured = tuple[Partition, PartitionView, TransferReading]


class HeldViews:
    """By the token of a question, the views captured for it; dropped after use, or if nobody asks for them."""

    def __init__(self) -> None:
        self._held = dict[bytes, dict[int, Captured]]()
        self._lock = threading.Lock()  # held on the event loop and by threads that answer questions, for moments

    def hold(self, token: bytes, captured: Iterable[Captured]) -> None:
        """Keeps captured views, replacing those of the same partitions under this token; on the event loop."""
        with self._lock:
            is_new = token not in self._held
            if is_new and len(self._held) >= HELD_VIEWS_MAX:
                # The oldest: its question is the likeliest to have ended without coming for it.
                self._held.pop(next(iter(self._held)))
            held = self._held.setdefault(token, {})
            held.update({each[0].partition: each for each in captured})
        if is_new:
            asyncio.get_running_loop().call_later(HELD_VIEWS_SECONDS, self._forget, token)

    def views_of(self, views: pb.HeldViews, partitions: Sequence[Partition]) -> list[Captured]:
        """The views of partitions, without profiles that arrived elsewhere; ViewsLost if they are not here."""
        with self._lock:
            held = self._held.get(views.token, {})
            # Given once and let go: a view keeps alive what a purge replaces meanwhile.
            taken = [held.pop(partition.partition, None) for partition in partitions]
            if not held:
                self._held.pop(views.token, None)
        arrived = dict[int, list[int]]()
        for each in views.arrived:
            arrived.setdefault(each.partition, []).append(each.to)
        return [_without(each, arrived) for each in taken if each is not None or _lost(views.token)]

    def _forget(self, token: bytes) -> None:
        with self._lock:
            self._held.pop(token, None)


def capture_all(partitions: Iterable[Partition]) -> list[Captured]:
    """All partitions at about the same moment; takes their locks, so never on an event loop."""
    return [(partition, *partition.capture_moving()) for partition in partitions]


def to_transfers(partition: Partition, _: PartitionView, reading: TransferReading) -> pb.PartitionTransfers:
    """The ends of transfers as a message."""
    sent = [pb.SentTransfers(to=to, released=each.released, open=each.open) for to, each in reading.sent.items()]
    received = [pb.ReceivedTransfers(source=source, last=last) for source, last in reading.received.items()]
    return pb.PartitionTransfers(partition=partition.partition, sent=sent, received=received)


def _without(captured: Captured | None, arrived: Mapping[int, Sequence[int]]) -> Captured:
    assert captured is not None
    partition, view, reading = captured
    # Profiles that are in the other partition's view already: hidden here, each counts once.
    hidden = [reading.sent[to].rows for to in arrived.get(partition.partition, ())]
    return partition, replace(view, hidden=np.concatenate(hidden)) if hidden else view, reading


def _lost(token: bytes) -> bool:
    raise ViewsLost(token)
