"""Profiles in batches, and timelines page by page, against what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import profile_pb2, profile_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import Served, served_cluster

Stub = profile_pb2_grpc.ProfileServiceStub
Test = Callable[[Served, Any], Awaitable[None]]
NAMES = ("A", "B", "C")


def serve(folder: Path, test: Test) -> None:
    """Run a test against a fresh cluster."""

    async def run() -> None:
        async with served_cluster(folder) as served:
            await test(served, Stub(served.router))

    asyncio.run(run())


async def pages(stub: Any, size: int, *names: str, user: str = "ann") -> list[list[Any]]:
    """All pages of a timeline."""
    request = profile_pb2.ListProfileEventsRequest(page_size=size, event_names=names)
    request.name.user_id = user
    found = []
    while True:
        response = await stub.ListProfileEvents(request)
        found.append(list(response.events))
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


def _told(events: list[Any]) -> list[tuple[str, int, int]]:
    return [(event.name, event.time.ToMilliseconds(), event.properties["n"].integer) for event in events]


def _expected(sent: list[Sent], *names: str) -> list[tuple[str, int, int]]:
    """Latest first; at one instant later names first, and of one name what arrived later."""
    order = list(dict.fromkeys(str(record.name) for record in sent))
    chosen = [record for record in sent if not names or record.name in names]
    chosen.sort(key=lambda record: (record.time_ms, order.index(str(record.name)), record.values["n"]), reverse=True)
    return [(str(record.name), record.time_ms, record.values["n"]) for record in chosen]


@given(
    events=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 4)), min_size=1, max_size=25),
    sealed=st.integers(0, 25),
    size=st.integers(1, 9),
)
@settings(max_examples=12, deadline=None)
def test_pages_hold_every_event_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], sealed: int, size: int
) -> None:
    sent = [Sent(name, "ann", NOW_MS - 1000 + time, {"n": n}) for n, (name, time) in enumerate(events)]

    async def test(served: Served, stub: Any) -> None:
        for part in (sent[:sealed], sent[sealed:]):
            if part:
                await served.ingest(protobuf_batch(part))
                for shard in served.shards if part is not sent[sealed:] else ():
                    shard._store.maintain(0)
        for names in ((), ("A",), ("A", "C")):
            found = await pages(stub, size, *names)
            assert [event for page in found for event in _told(page)] == _expected(sent, *names)
            assert all(len(page) == size for page in found[:-1])

    serve(tmp_path_factory.mktemp("pages"), test)


def test_events_that_arrive_between_two_pages_move_nothing(tmp_path: Path) -> None:
    async def test(served: Served, stub: Any) -> None:
        await served.ingest(protobuf_batch([Sent("A", "ann", NOW_MS - 10 * n, {"n": n}) for n in range(6)]))
        request = profile_pb2.ListProfileEventsRequest(page_size=3)
        request.name.user_id = "ann"
        first = await stub.ListProfileEvents(request)
        await served.ingest(protobuf_batch([Sent("A", "ann", NOW_MS - 5 * n, {"n": 100 + n}) for n in range(4)]))
        request.page_token = first.next_page_token
        second = await stub.ListProfileEvents(request)
        assert [event.properties["n"].integer for event in (*first.events, *second.events)] == [0, 1, 2, 3, 4, 5]
        assert not second.next_page_token
        assert (first.event_count, second.event_count) == (6, 10)

    serve(tmp_path, test)


def test_a_batch_gives_profiles_in_the_order_asked_for_and_says_who_is_missing(tmp_path: Path) -> None:
    async def test(served: Served, stub: Any) -> None:
        sent = [Sent("A", f"u{n}", NOW_MS, {"n": n}) for n in range(30)]
        await served.ingest(protobuf_batch([*sent, Sent("B", "", NOW_MS, {}, "device-1")]))
        names = [profile_pb2.ProfileName(user_id=f"u{n}") for n in (29, 99, 0)]
        request = profile_pb2.BatchGetProfilesRequest(
            names=[*names, profile_pb2.ProfileName(anonymous_id="device-1")], events_max=1
        )
        results = (await stub.BatchGetProfiles(request)).results
        assert [result.HasField("profile") for result in results] == [True, False, True, True]
        assert [result.profile.identifiers[0].value for result in results if result.HasField("profile")] == [
            "u29",
            "u0",
            "device-1",
        ]
        assert results[0].profile.events[0].properties["n"].integer == 29
        request.events_max = 0
        assert not (await stub.BatchGetProfiles(request)).results[0].profile.events

    serve(tmp_path, test)


def test_identifiers_of_a_profile(tmp_path: Path) -> None:
    async def test(served: Served, stub: Any) -> None:
        await served.ingest(protobuf_batch([Sent("A", "ann", NOW_MS, {})]))
        request = profile_pb2.ListProfileIdentifiersRequest(name=profile_pb2.ProfileName(user_id="ann"))
        [found] = (await stub.ListProfileIdentifiers(request)).identifiers
        assert (found.kind, found.value) == ("user_id", "ann")

    serve(tmp_path, test)


_ANN = profile_pb2.ProfileName(user_id="ann")
_BATCH, _EVENTS = profile_pb2.BatchGetProfilesRequest, profile_pb2.ListProfileEventsRequest


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (_BATCH(), "names"),
        (_BATCH(names=[_ANN] * 101), "names"),
        (_BATCH(names=[_ANN] * 2, events_max=101), "events_max"),
        (_BATCH(names=[_ANN], events_max=10_001), "events_max"),
        (_BATCH(names=[_ANN, profile_pb2.ProfileName()]), "names[1].identifier"),
        (_BATCH(names=[profile_pb2.ProfileName(anonymous_id="x" * 513)]), "names[0].anonymous_id"),
        (_EVENTS(name=_ANN, page_size=10_001), "page_size"),
        (_EVENTS(name=_ANN, page_token="nonsense"), "page_token"),
        (_EVENTS(name=_ANN, page_token="kgD/"), "page_token"),
        (_EVENTS(name=_ANN, event_names=["A"] * 101), "event_names"),
        (_EVENTS(), "name.identifier"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked_names_the_field(tmp_path: Path, request_: Any, field: str) -> None:
    async def test(served: Served, stub: Any) -> None:
        call = stub.BatchGetProfiles if isinstance(request_, _BATCH) else stub.ListProfileEvents
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        metadata = dict(caught.value.trailing_metadata())
        assert field.encode() in metadata["grpc-status-details-bin"]  # type: ignore[operator]

    serve(tmp_path, test)
