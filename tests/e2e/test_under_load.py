"""Many clients at once, readers that do not read, shards that hang or die: all are served, and no answer is wrong.

CDP_LOAD_CLIENTS says how many clients; `make load` takes a thousand.
"""

from __future__ import annotations

import asyncio
import os
import resource
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from cdp.v1 import ingest_pb2, query_pb2, query_pb2_grpc

from benchmarks.cluster import running_cluster
from cdp_router.client import Answer, AsyncClient, Client, ClusterUnreachable, RequestFailed
from tests.e2e.processes import eventually, kill, router_process, shard_process
from tests.router.encodings import Sent, arrow_batch, msgpack_batch, msgpack_row

pytestmark = pytest.mark.long

CLIENTS = int(os.environ.get("CDP_LOAD_CLIENTS", "40"))
ROUNDS, USERS = 4, 5
PAST_MS = 1_700_000_000_000
PATIENCE = 300.0  # no test waits so long unless something is wrong
HUNG_SECONDS = 3.0 + CLIENTS / 50  # what is asked of a cluster with a shard that hangs; many clients keep it busy
_TOO_LATE = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)
MEMBERS = 400_000
READERS = 20
# A connection costs the router buffers of some ten kilobytes; what a client asks is answered and gone.
RESIDENT_BASE_BYTES, RESIDENT_BYTES_PER_CLIENT = 150 << 20, 1 << 20


class _Ledger:
    """What one client has acknowledged, and how often it was told something that is not so."""

    def __init__(self, event: str, number: int) -> None:
        self.event, self.number = event, number
        self.acked = 0
        self.wrong = list[tuple[int, int]]()
        self.failed = list[str]()

    def batch(self, round_: int) -> ingest_pb2.Batch:
        """The batch of a round: users of its own, message ids of their own."""
        sent = [
            Sent(
                self.event,
                f"{self.event}-{self.number}-{round_}-{user}",
                PAST_MS + round_,
                {"client": self.number},
                message_id=f"{self.event}-{self.number}-{round_}-{user}",
            )
            for user in range(USERS)
        ]
        return msgpack_batch(map(msgpack_row, sent), uuid.uuid4().bytes)


async def _work(client: AsyncClient, ledger: _Ledger) -> None:
    """Send a batch, and ask whether all that was acknowledged is there; a failed question is no wrong answer."""
    for round_ in range(ROUNDS):
        result = await client.ingest(ledger.batch(round_), timeout_seconds=10.0, give_up_seconds=PATIENCE)
        assert not result.errors
        ledger.acked += USERS
        try:
            found = await client.answer(f'did("{ledger.event}", client = {ledger.number})', timeout_seconds=PATIENCE)
        except (RequestFailed, ClusterUnreachable) as error:
            ledger.failed.append(str(error))
        else:
            if not found.exact or found.count != ledger.acked:
                ledger.wrong.append((found.count, ledger.acked))


async def _at_once(address: str, event: str, meanwhile: Callable[[], Awaitable[None]] | None = None) -> list[_Ledger]:
    """All clients at work, each on a connection of its own; what they have to say."""
    ledgers = [_Ledger(event, number) for number in range(CLIENTS)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_own_connection(address)) for _ in ledgers]
        working = asyncio.gather(*map(_work, clients, ledgers))
        if meanwhile is not None:
            await meanwhile()
        await asyncio.wait_for(working, PATIENCE)
    return ledgers


def _own_connection(address: str) -> AsyncClient:
    return AsyncClient(address, [("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load") / "data"


@pytest.fixture(scope="module")
def loaded(data: Path) -> Iterator[str]:
    """A cluster of two shards of its own, since its processes are stopped and killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with running_cluster(data, 2) as address:
        yield address


def _resident(data: Path) -> int:
    router = router_process(data)
    assert router is not None
    return int(router.memory_info().rss)


def _checked(ledgers: list[_Ledger], address: str, event: str) -> None:
    """Everything acknowledged is there once, and nobody was told anything else."""
    assert [ledger.wrong for ledger in ledgers if ledger.wrong] == []
    with Client(address) as client:
        whole = eventually(lambda: _exact(client, f'count("{event}") = 1'))
        assert whole == CLIENTS * ROUNDS * USERS
        assert _exact(client, f'count("{event}") > 1') == 0


def _exact(client: Client, text: str) -> int | None:
    try:
        found = client.answer(text)
    except (RequestFailed, ClusterUnreachable):
        return None
    return found.count if found.exact else None


def test_many_clients_at_once(loaded: str, data: Path) -> None:
    before = _resident(data)
    ledgers = asyncio.run(_at_once(loaded, "load.many"))
    _checked(ledgers, loaded, "load.many")
    assert [ledger.failed for ledger in ledgers if ledger.failed] == []
    assert _resident(data) - before < RESIDENT_BASE_BYTES + CLIENTS * RESIDENT_BYTES_PER_CLIENT


def test_a_shard_that_hangs_for_a_while(loaded: str, data: Path) -> None:
    async def hang() -> None:
        shard = shard_process(data, 1)
        assert shard is not None
        shard.suspend()
        try:
            await _partial(loaded)
        finally:
            shard.resume()

    before = _resident(data)
    _checked(asyncio.run(_at_once(loaded, "load.hang", hang)), loaded, "load.hang")
    assert _resident(data) - before < RESIDENT_BASE_BYTES + CLIENTS * RESIDENT_BYTES_PER_CLIENT


async def _partial(address: str) -> None:
    """While a shard hangs, the other's partitions are answered, flagged; and what is wholly theirs is taken."""
    async with _own_connection(address) as client:
        found = await _flagged(client)
        assert found.flags == ("PARTIAL",)
        assert len(found.message.coverage.answered) == found.message.coverage.total // 2
        with pytest.raises(RequestFailed) as caught:
            await client.answer("everyone", timeout_seconds=HUNG_SECONDS)
        assert caught.value.code in _TOO_LATE
        # One user a batch: about every other lives where the shard serves.
        taken = await asyncio.gather(*(_is_taken(client, number) for number in range(12)))
        assert 0 < sum(taken) < 12


async def _flagged(client: AsyncClient) -> Answer:
    """An answer without the shard that hangs; among a thousand clients it may take some asking."""
    while True:
        try:
            return await client.answer("everyone", timeout_seconds=HUNG_SECONDS, allow_partial=True)
        except RequestFailed as error:
            assert error.code in _TOO_LATE


async def _is_taken(client: AsyncClient, number: int) -> bool:
    record = msgpack_row(Sent("load.apart", f"apart-{number}", PAST_MS, {}))
    try:
        await client.ingest(msgpack_batch([record], uuid.uuid4().bytes), HUNG_SECONDS, give_up_seconds=0.0)
    except RequestFailed as error:
        assert error.code in _TOO_LATE
        return False
    return True


def test_a_shard_that_dies(loaded: str, data: Path) -> None:
    async def die() -> None:
        await asyncio.to_thread(kill, shard_process(data, 0))

    _checked(asyncio.run(_at_once(loaded, "load.dies", die)), loaded, "load.dies")


def test_readers_that_do_not_read_cost_no_more_than_their_window_and_others_are_answered(
    loaded: str, data: Path
) -> None:
    ids = pa.array([f"a-member-with-a-rather-long-identifier-{number:08}" for number in range(MEMBERS)])
    times = pa.array([PAST_MS] * MEMBERS, pa.timestamp("ms"))
    table = pa.table({"user_id": ids, "time": times, "event": pa.array(["load.member"] * MEMBERS)})
    with Client(loaded) as client:
        taken = client.ingest(arrow_batch(table.combine_chunks()))
        assert (
            taken.accepted + taken.duplicates == MEMBERS
        )  # a batch that had to be sent again was taken in part before
        assert client.count('did("load.member")') == MEMBERS
    before = _resident(data)
    asyncio.run(_stalled(loaded))
    # A list has 22 MB; were what is not read kept in the router, the lists would take 440 MB.
    assert _resident(data) - before < READERS * (9 << 20)


async def _stalled(address: str) -> None:
    async with AsyncExitStack() as stack:
        streams = list[AsyncIterator[query_pb2.MembersResponse]]()
        for _ in range(READERS):
            client = await stack.enter_async_context(_own_connection(address))
            stub = query_pb2_grpc.QueryServiceStub(client._channel)
            stream = stub.Members(query_pb2.MembersRequest(text='did("load.member")'), timeout=PATIENCE)
            await stream.read()  # it has begun, and is not read on
            streams.append(stream)
        ledgers = await _at_once(address, "load.beside")
        assert [(ledger.wrong, ledger.failed) for ledger in ledgers if ledger.wrong or ledger.failed] == []
        rest = bytearray()
        while (response := await streams[0].read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            rest += response.arrow
            last = response
        assert len(last.coverage.answered) == last.coverage.total
        assert len(rest) > MEMBERS * 40
