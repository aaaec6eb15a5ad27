"""A whole cluster in this process behind real sockets: every service of router and shard inside its chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cdp.v1 import (
    admin_pb2_grpc,
    export_pb2_grpc,
    identity_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    named_segment_pb2_grpc,
    privacy_pb2_grpc,
    profile_pb2_grpc,
    proof_pb2_grpc,
    query_pb2_grpc,
    schema_pb2_grpc,
)

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.erasure.erasures import Erasures
from cdp_router.identity.identities import Identities
from cdp_router.ingest.ingest import Ingest
from cdp_router.ingest.schema_gate import SchemaGate
from cdp_router.questions.queries import Queries
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.rpc.chain import Chain, Observer
from cdp_router.rpc.gate import Gate
from cdp_router.rpc.large_requests import Readings
from cdp_router.rpc.record import Record
from cdp_router.security.keys.rates import Rates
from cdp_router.security.privacy.discretion import Discretion
from cdp_router.security.privacy.privacy import SharedPrivacy
from cdp_router.security.tls.listening import server_credentials
from cdp_router.security.tls.tls import Tls
from cdp_router.services.admin_service import AdminService
from cdp_router.services.export_service import ExportService
from cdp_router.services.identity_service import IdentityService
from cdp_router.services.ingest_service import IngestService
from cdp_router.services.privacy_service import PrivacyService
from cdp_router.services.profile_service import ProfileService
from cdp_router.services.proof_service import ProofService
from cdp_router.services.query_service import QueryService
from cdp_router.services.schema_service import SchemaService
from cdp_router.services.segment_service import SegmentService
from cdp_router.services.shard_services import add_shard_services
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from tests.router.local_cluster import CLUSTER, FixedClock, far_deadline, open_store

Gates = tuple[Gate | None, Gate | None]
OPTIONS = (("grpc.max_receive_message_length", 1 << 27), ("grpc.max_send_message_length", 1 << 27))


@dataclass(frozen=True, slots=True)
class Served:
    """A running cluster: channels to its router and to its first shard, and what it holds."""

    router: grpc.aio.Channel
    shard: grpc.aio.Channel
    address: str
    shard_address: str
    services: frozenset[str]
    taking: Ingest
    shards: list[ShardServer]
    segments: SharedSegments

    def channel_of(self, service: str) -> grpc.aio.Channel:
        """Where a service is served."""
        return self.shard if service.endswith((".ShardService", ".PartitionService")) else self.router

    async def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        """Take a batch."""
        return await self.taking.ingest(batch, far_deadline())

    def state(self) -> tuple[Any, ...]:
        """What changes when anything is changed: log positions, rules of retention, named segments."""
        partitions = [partition for shard in self.shards for partition in shard._store.partitions.values()]
        kept = [(partition.sequence, sorted(partition.retention_days().items())) for partition in partitions]
        return (*kept, *((each.definition.name, each.definition.version) for each in self.segments.known.newest()))


@asynccontextmanager
async def served_cluster(
    folder: Path,
    *observers: Observer,
    gates: Gates = (None, None),
    tls: Tls | None = None,
    record: Record | None = None,
    rates: Rates | None = None,
    readings: Readings | None = None,
) -> AsyncIterator[Served]:
    """Two shards and their router for the length of the block; `gates` are those of the router and of the shards.

    With `tls` both ask for certificates; the channels of the result are none of theirs then.
    """
    servers = [ShardServer(open_store(folder / f"shard-{n}", n), lambda error: None) for n in range(CLUSTER.shards)]
    shards: dict[int, ShardClient] = {
        number: LocalShardClient(server, f"local:{number}") for number, server in enumerate(servers)
    }
    routing = Routing(CLUSTER, shards)
    clock, segments = FixedClock(), SharedSegments(routing)
    router, shard = (
        grpc.aio.server(interceptors=[Chain(gate, observers, kept, bounded)], options=OPTIONS)
        for gate, kept, bounded in zip(gates, (record, None), (readings, None), strict=True)
    )
    with ThreadPoolExecutor(1) as threads:
        schema = SchemaGate(routing)
        taking = Ingest(routing, clock, threads, schema=schema)
        queries = Queries(routing, clock, segments)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestService(taking, rates=rates), router)
        privacy = SharedPrivacy(routing)
        privacy_pb2_grpc.add_PrivacyServiceServicer_to_server(PrivacyService(privacy), router)
        query_pb2_grpc.add_QueryServiceServicer_to_server(QueryService(queries, Discretion(privacy)), router)
        profile_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileService(queries, Discretion(privacy)), router)
        export_pb2_grpc.add_ExportServiceServicer_to_server(ExportService(routing), router)
        proof_pb2_grpc.add_ProofServiceServicer_to_server(ProofService(queries, Discretion(privacy)), router)
        named_segment_pb2_grpc.add_SegmentServiceServicer_to_server(
            SegmentService(segments, clock, Discretion(privacy)), router
        )
        schema_service = SchemaService(routing, schema, Discretion(privacy))
        schema_pb2_grpc.add_SchemaServiceServicer_to_server(schema_service, router)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(routing, Erasures(routing)), router)
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(IdentityService(Identities(routing)), router)
        add_shard_services(servers[0], shard)
        ports = [_listen(server, tls) for server in (router, shard)]
        await asyncio.gather(router.start(), shard.start())
        to_router, to_shard = (grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) for port in ports)
        names = frozenset(f"cdp.v1.{name}Service" for name in _NAMES)
        try:
            yield Served(
                to_router, to_shard, f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", names, taking, servers, segments
            )
        finally:
            await asyncio.gather(to_router.close(), to_shard.close())
            await asyncio.gather(router.stop(0), shard.stop(0))
            await asyncio.gather(*(server.close() for server in servers))


def _listen(server: grpc.aio.Server, tls: Tls | None) -> int:
    if tls is None:
        return server.add_insecure_port("127.0.0.1:0")
    return server.add_secure_port("127.0.0.1:0", server_credentials(tls, clients_show_certificates=True))


_NAMES = (
    "Export",
    "Identity",
    "Ingest",
    "Privacy",
    "Query",
    "Profile",
    "Proof",
    "Segment",
    "Schema",
    "Admin",
    "Shard",
    "Partition",
)
