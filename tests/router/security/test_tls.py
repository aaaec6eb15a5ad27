"""Certificates between all parts: whose is right is served, all others are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cdp.v1 import partition_pb2, shard_pb2

from cdp_router.client import AsyncClient, ClusterUnreachable
from cdp_router.cluster.shard_methods import READ_HOLDINGS, READ_STATUS
from cdp_router.deadline import Deadline
from cdp_router.security.gates import ClusterGate
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.links import Link
from cdp_router.security.tls.listening import server_credentials
from cdp_router.security.tls.tls import Tls
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from tests.certificates import Authority
from tests.router.local_cluster import CLUSTER
from tests.router.served_cluster import Served, served_cluster


@dataclass(frozen=True, slots=True)
class _Certificates:
    right: Tls
    wrong: dict[str, Tls | None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> _Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder, "ours"), Authority(folder, "other")
    wrong = {
        "nothing encrypted": None,
        "no certificate": Tls(ca=ours.path),
        "of another authority": other.sign("stranger", ca=ours.path),
        "expired": ours.sign("late", is_over=True),
        "believes another authority": ours.sign("lost", ca=other.path),
    }
    return _Certificates(ours.sign("right"), wrong)


async def _as_client(served: Served, tls: Tls | None) -> None:
    async with AsyncClient(served.address, tls=tls) as client:
        assert len((await client.status(timeout_seconds=20)).shards) == 2


async def _as_router(served: Served, tls: Tls | None) -> None:
    shard = GrpcShardClient(served.shard_address, Link.of(CLUSTER, tls))
    try:
        assert (await shard.call(READ_STATUS, shard_pb2.ReadStatusRequest(), Deadline.after(20, 20))).partitions
    finally:
        await shard.close()


async def _as_shard(served: Served, tls: Tls | None) -> None:
    giver = GrpcShardClient(served.shard_address, Link.of(CLUSTER, tls))
    try:
        request = partition_pb2.ReadHoldingsRequest(cluster=CLUSTER.cluster)
        assert (await giver.call(READ_HOLDINGS, request, Deadline.after(20, 20))).holdings
    finally:
        await giver.close()


PARTS = {"client to router": _as_client, "router to shard": _as_router, "shard to shard": _as_shard}
Part = Callable[[Served, Tls | None], Awaitable[None]]


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_only_certificates_of_the_authority_are_served(certificates: _Certificates, part: Part, tmp_path: Path) -> None:
    async def run() -> None:
        gates = None, ClusterGate(Link.of(CLUSTER).shown[0][1])
        async with served_cluster(tmp_path, gates=gates, tls=certificates.right) as served:
            await part(served, certificates.right)
            for tls in certificates.wrong.values():
                with pytest.raises((ClusterUnreachable, grpc.aio.AioRpcError)) as caught:
                    await part(served, tls)
                error = caught.value
                assert "Start one" not in str(error), "something is there, but not for us"
                assert isinstance(error, ClusterUnreachable) or error.code() is grpc.StatusCode.UNAVAILABLE
            await part(served, certificates.right)

    asyncio.run(run())


def test_a_server_that_is_not_who_it_says_is_not_believed(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    servers = [ours.sign("elsewhere", address="127.0.0.9"), ours.sign("late", is_over=True)]

    async def run() -> None:
        for number, server in enumerate(servers):
            async with served_cluster(tmp_path / str(number), tls=server) as served:
                with pytest.raises(ClusterUnreachable):
                    await _as_client(served, ours.sign("right"))

    asyncio.run(run())


def test_what_cannot_be_used_is_told_before_anything_is_served(tmp_path: Path) -> None:
    right = Authority(tmp_path, "ours").sign("right")
    assert right.certificate is not None
    with pytest.raises(CredentialsUnusable, match="go together"):
        Tls(certificate=right.certificate)
    with pytest.raises(CredentialsUnusable, match="cannot be read: No such file"):
        Tls(tmp_path / "none", right.key, right.ca).channel()
    (tmp_path / "binary").write_bytes(b"\x30\x82")
    with pytest.raises(CredentialsUnusable, match="no PEM"):
        server_credentials(Tls(tmp_path / "binary", right.key, right.ca), clients_show_certificates=True)
    with pytest.raises(CredentialsUnusable, match="--tls-cert"):
        server_credentials(Tls(ca=right.ca), clients_show_certificates=False)
    with pytest.raises(CredentialsUnusable, match="--tls-ca"):
        server_credentials(Tls(right.certificate, right.key), clients_show_certificates=True)
