"""A whole cluster in this process: the router's ingest and queries over shards without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from cdp.v1 import ingest_pb2, query_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.topology import ClusterFile
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline, monotonic_ms
from cdp_router.ingest.ingest import Ingest
from cdp_router.questions.queries import Queries
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from cdp_store.errors import StoreFailed
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.shard.store import Store

NOW_MS = 1_767_225_600_000  # 2026-01-01
KEY = "000102030405060708090a0b0c0d0e0f"
CLUSTER = ClusterFile("cluster-one", 4, 2, KEY)

Result = TypeVar("Result")
Wrap = Callable[[int, ShardClient], ShardClient]


class FixedClock:
    """A wall clock that stands still."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


def far_deadline() -> Deadline:
    """A deadline no test reaches."""
    return Deadline.after(60.0, 60.0)


def open_store(directory: Path, shard: int = 0, files: Files | None = None, cluster: ClusterFile = CLUSTER) -> Store:
    """A shard's store, recovered and ready."""
    store = Store(directory, cluster.shard_identity(shard), cluster.hash_key, files or OsFiles())
    store.recover(lambda done, total: None)
    return store


class LocalCluster:
    """Ingest and queries over local shards; every method runs its coroutine to the end."""

    def __init__(
        self,
        folder: Path,
        runner: asyncio.Runner,
        threads: ThreadPoolExecutor,
        wrap: Wrap,
        cluster: ClusterFile = CLUSTER,
    ) -> None:
        self._runner = runner
        self.failures = list[StoreFailed]()
        stores = [open_store(folder / f"shard-{number}", number, cluster=cluster) for number in range(cluster.shards)]
        self.servers = [ShardServer(store, self.failures.append) for store in stores]
        self.shards: dict[int, ShardClient] = {
            number: wrap(number, LocalShardClient(server, f"local:{number}"))
            for number, server in enumerate(self.servers)
        }
        self.routing = Routing(cluster, self.shards)
        self.clock = FixedClock()
        self.taking = Ingest(self.routing, self.clock, threads)
        self.asking = Queries(self.routing, self.clock)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the cluster's loop."""
        return self._runner.run(work)

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        """Take a batch."""
        return self.run(self.taking.ingest(batch, far_deadline()))

    def query(self, text: str = "", as_of_ms: int | None = None, **options: Any) -> query_pb2.QueryResponse:
        """Ask a question."""
        request = query_pb2.QueryRequest(**({"text": text} if text else {}), **options)
        if as_of_ms is not None:
            request.as_of.CopyFrom(to_timestamp(as_of_ms))
        return self.ask(request)

    def ask(self, request: query_pb2.QueryRequest, deadline: Deadline | None = None) -> query_pb2.QueryResponse:
        """Ask a question given as a message."""
        return self.run(self.asking.query(request, deadline or far_deadline(), monotonic_ms()))

    def members(self, text: str = "", **options: Any) -> tuple[list[tuple[str, str]], query_pb2.Coverage]:
        """(kind, id) of every member, sorted, and the coverage."""
        return members_of(self.member_responses(text, **options))

    def member_responses(self, text: str = "", **options: Any) -> list[query_pb2.MembersResponse]:
        """The messages of a list of members."""
        request = query_pb2.MembersRequest(**({"text": text} if text else {}), **options)

        async def collect() -> list[query_pb2.MembersResponse]:
            encoded = self.asking.members(request, far_deadline())
            return [query_pb2.MembersResponse.FromString(b"".join(each)) async for each in encoded]

        return self.run(collect())

    def profile(self, **request: Any) -> query_pb2.GetProfileResponse:
        """Read one profile."""
        return self.run(self.asking.profile(query_pb2.GetProfileRequest(**request), far_deadline()))

    def seal(self) -> None:
        """Seal and compact everything."""
        for server in self.servers:
            server._store.maintain(0)

    def validate(self) -> None:
        """Every structure of every partition is whole."""
        for server in self.servers:
            for partition in server._store.partitions.values():
                partition.validate()


def members_of(responses: Sequence[query_pb2.MembersResponse]) -> tuple[list[tuple[str, str]], query_pb2.Coverage]:
    """The members in a stream of responses, and its coverage, which comes last."""
    with pa.ipc.open_stream(b"".join(response.arrow for response in responses)) as reader:
        table = reader.read_all()
    assert responses[-1].HasField("coverage")
    rows = zip(table.column("kind").to_pylist(), table.column("id").to_pylist(), strict=True)
    return sorted(rows), responses[-1].coverage


def plain(_: int, client: ShardClient) -> ShardClient:
    """Nothing stands between."""
    return client


@contextmanager
def local_cluster(folder: Path, wrap: Wrap = plain, cluster: ClusterFile = CLUSTER) -> Iterator[LocalCluster]:
    """A cluster for the length of the block, validated at the end; `wrap` may stand between router and shard."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as threads:
        found = LocalCluster(folder, runner, threads, wrap, cluster)
        try:
            yield found
            found.validate()
        finally:
            for server in found.servers:
                runner.run(server.close())
