"""Certificates that are replaced while processes run: read again when a connection begins, and not before they fit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cdp.v1 import query_pb2
from starlette.applications import Starlette

from cdp_router.client import AsyncClient, ClusterUnreachable
from cdp_router.gateway.http_server import GatewayServer
from cdp_router.security.tls.certificate_files import CertificateFiles
from cdp_router.security.tls.listening import server_credentials
from cdp_router.security.tls.renewing import renewing
from cdp_router.security.tls.tls import Tls
from tests.certificates import Authority
from tests.router.served_cluster import served_cluster


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority]:
    return Authority(tmp_path, "old"), Authority(tmp_path, "new")


def files_of(folder: Path, tls: Tls) -> Tls:
    """A process's own files, which begin as copies of some."""
    own = Tls(folder / "own.pem", folder / "own.key", folder / "own-ca.pem")
    replace(own, tls)
    return own


def replace(own: Tls, by: Tls) -> None:
    """Replace files as a renewal does: each at once, one after the other."""
    for mine, theirs in _pairs(own, by):
        new = mine.with_suffix(".next")
        new.write_bytes(theirs.read_bytes())
        new.replace(mine)


def _pairs(own: Tls, by: Tls) -> list[tuple[Path, Path]]:
    files = (own.certificate, by.certificate), (own.key, by.key), (own.ca, by.ca)
    return [(mine, theirs) for mine, theirs in files if mine is not None and theirs is not None]


def test_a_running_server_shows_and_believes_the_new_ones(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    (old, new), own = authorities, files_of(tmp_path, authorities[0].sign("first"))
    old_client, new_client = old.sign("old client"), new.sign("new client")

    async def is_served(address: str, tls: Tls) -> bool:
        async with AsyncClient(address, tls=tls) as client:
            try:
                return len((await client.status(timeout_seconds=20)).shards) == 2
            except ClusterUnreachable:
                return False

    async def run() -> None:
        async with served_cluster(tmp_path / "data", tls=own) as served:
            assert await is_served(served.address, old_client)
            assert not await is_served(served.address, new_client)
            renewed = new.sign("second")
            assert own.key is not None and renewed.key is not None
            own.key.write_bytes(renewed.key.read_bytes())
            assert await is_served(served.address, old_client), "half replaced: what was read goes on"
            replace(own, renewed)
            assert await is_served(served.address, new_client)
            assert not await is_served(served.address, old_client)

    asyncio.run(run())


def test_a_running_client_shows_and_believes_the_new_ones(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    own = files_of(tmp_path, authorities[0].sign("client"))
    servers = [each.sign(f"server {number}") for number, each in enumerate(authorities)]

    async def run() -> None:
        ports = list[int]()
        running = [await _answering(server, ports) for server in servers]
        channel = renewing(lambda: _connected(ports[len(made)], own, made), own, 0.0)
        ask = channel.unary_unary("/a.B/C", response_deserializer=query_pb2.QueryResponse.FromString)
        try:
            for _ in range(2):
                assert (await ask(b"", timeout=20)).count == 1
            replace(own, authorities[1].sign("renewed"))
            assert (await ask(b"", timeout=20)).count == 2, "by the same stub"
            assert len(made) == 2
        finally:
            await channel.close()
            await asyncio.gather(*(server.stop(0) for server in running))
        assert [each.get_state() for each in made] == [grpc.ChannelConnectivity.SHUTDOWN] * 2

    made = list[grpc.aio.Channel]()
    asyncio.run(run())


def _connected(port: int, own: Tls, made: list[grpc.aio.Channel]) -> grpc.aio.Channel:
    made.append(grpc.aio.secure_channel(f"127.0.0.1:{port}", own.channel()))
    return made[-1]


async def _answering(tls: Tls, ports: list[int]) -> grpc.aio.Server:
    """A server that answers everything with its number."""
    number = len(ports) + 1

    class Answering(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
                return query_pb2.QueryResponse(count=number).SerializeToString()

            return grpc.unary_unary_rpc_method_handler(answer)  # type: ignore[arg-type]

    server = grpc.aio.server(handlers=[Answering()])
    ports.append(server.add_secure_port("127.0.0.1:0", server_credentials(tls, clients_show_certificates=True)))
    await server.start()
    return server


def _cut(own: Tls) -> None:
    assert own.certificate is not None
    own.certificate.write_bytes(own.certificate.read_bytes()[:200])


def _gone(own: Tls) -> None:
    assert own.ca is not None
    own.ca.unlink()


@pytest.mark.parametrize("spoil", [_cut, _gone])
def test_files_that_cannot_be_used_are_waited_for(
    tmp_path: Path, authorities: tuple[Authority, Authority], spoil: Callable[[Tls], None]
) -> None:
    first = authorities[0].sign("first")
    own = files_of(tmp_path, first)
    files = CertificateFiles(own)
    assert not files.have_changed()
    spoil(own)
    assert not files.have_changed()
    replace(own, authorities[0].sign("second"))
    assert files.have_changed()
    assert not files.have_changed(), "said once"


def test_the_gateway_shows_the_new_one(tmp_path: Path, authorities: tuple[Authority, Authority]) -> None:
    own = files_of(tmp_path, authorities[0].sign("first"))
    server, files = GatewayServer(Starlette(), own), CertificateFiles(own)
    server.config.load()
    replace(own, authorities[1].sign("second"))
    server.renew(files)
    assert own.ca is not None and isinstance(server.config.ssl, ssl.SSLContext)
    client = ssl.create_default_context(cafile=str(authorities[1].path))
    _shake_hands(server.config.ssl, client)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake in memory; ssl.SSLError where the client does not believe the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[0].getpeercert()
