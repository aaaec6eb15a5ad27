"""The router process: `python -m cdp_router.process.router`, started by the supervisor or by `cdp router`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
from cdp.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    export_pb2,
    export_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    named_segment_pb2,
    named_segment_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
    profile_pb2,
    profile_pb2_grpc,
    proof_pb2,
    proof_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    schema_pb2,
    schema_pb2_grpc,
)

from cdp_router.background import Background
from cdp_router.cluster.address_book import AddressBook
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import RouterError
from cdp_router.gateway.letters.dead_letters import FOLDER as FOLDER_OF_LETTERS
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.identity.identities import Identities
from cdp_router.identity.transfers import Mover
from cdp_router.ingest.ingest import Ingest
from cdp_router.ingest.schema_gate import SchemaGate
from cdp_router.limits import QUERY_SECONDS_DEFAULT, ROUTER_MESSAGE_BYTES_MAX
from cdp_router.observing.logs import start_logging
from cdp_router.observing.observing import Observing
from cdp_router.observing.settings import Settings
from cdp_router.process import warm_up
from cdp_router.process.data_directory import open_keys
from cdp_router.process.serving import Serving
from cdp_router.process.supervised import AFTER_SHARDS, EXIT_REFUSED, Report, report, run_process
from cdp_router.process.tls_arguments import add_tls_arguments, tls_of
from cdp_router.questions.queries import Queries
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.records.blocklist import Blocked
from cdp_router.rpc.blocking_pipes import MEMBERS, QUERY
from cdp_router.rpc.large_requests import Readings
from cdp_router.security.audit.audit import Audit
from cdp_router.security.audit.audit_files import FOLDER
from cdp_router.security.gates import KeyGate
from cdp_router.security.keys.key_file import KeyFile
from cdp_router.security.keys.rates import Rates
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.privacy.discretion import Discretion
from cdp_router.security.privacy.privacy import SharedPrivacy
from cdp_router.security.tls.cluster_secrets import AUDIT_CHAIN, AUDITED_PEOPLE, derived
from cdp_router.security.tls.links import Link
from cdp_router.security.tls.listening import check_listening, server_credentials
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
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_router.shard.moves.director import Director
from cdp_store.errors import StoreError
from cdp_store.outside.seams import Clock, SystemClock

_LOG = logging.getLogger(__name__)
Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class _Doors:
    """Admission at a router: its callers and its addresses."""

    address: str
    keys: KeyFile
    tls: Tls | None
    clients_show_certificates: bool

    def credentials(self) -> grpc.ServerCredentials | None:
        """Credentials with which the router listens."""
        if self.tls is None:
            return None
        return server_credentials(self.tls, clients_show_certificates=self.clients_show_certificates)


async def _serve(
    directory: ClusterDirectory, doors: _Doors, number: int, shards_at: Callable[[], str], *, is_alone: bool
) -> None:
    credentials = doors.credentials()
    check_listening(doors.address, has_keys=doors.keys.keys() is not None)
    if warm_up.is_wanted():
        warm_up.warm_routing()
    cluster, clock = directory.load(), SystemClock()
    routing = Routing(cluster, {})
    link = Link.of(cluster, doors.tls if doors.tls is not None and doors.tls.ca is not None else None)
    rates, settings = Rates(), Settings.from_environment()
    observing = Observing(f"router-{number}" if number else "router", settings, settings.metrics_of_router(number))
    background, director = Background(observing.background.failed), Director(routing)
    addresses = msgspec.json.decode(shards_at(), type=dict[int, str])
    book = AddressBook(directory, routing, partial(GrpcShardClient, link=link), addresses, background)
    book.read()
    await director.look()
    secrets = derived(cluster, AUDIT_CHAIN), derived(cluster, AUDITED_PEOPLE)
    audit = Audit(directory.path / FOLDER, *secrets, clock, began=directory.remember_paths)
    gate = KeyGate(doors.keys, clock, rates)
    serving = Serving(_SERVICES, observing.observers, gate, credentials, audit, Readings(), ROUTER_MESSAGE_BYTES_MAX)
    observing.start()
    with ThreadPoolExecutor(os.cpu_count() or 1, "columnarise") as threads:
        router = _Router(directory.path, routing, clock, observing, rates, threads)
        loops = {"addresses": book.keep, "moves": director.keep, **await router.serve(serving.server)}
        serving.add_client_pipes(doors.address, router.piped)
        for name, loop in loops.items():
            background.keep(name, loop)
        await serving.run(doors.address, is_alone=is_alone)
    observing.close()
    audit.close()
    await book.close()
    await background.close()


_SERVICES: Final = [
    file.services_by_name[name].full_name
    for file, name in (
        (ingest_pb2.DESCRIPTOR, "IngestService"),
        (query_pb2.DESCRIPTOR, "QueryService"),
        (proof_pb2.DESCRIPTOR, "ProofService"),
        (profile_pb2.DESCRIPTOR, "ProfileService"),
        (export_pb2.DESCRIPTOR, "ExportService"),
        (named_segment_pb2.DESCRIPTOR, "SegmentService"),
        (identity_pb2.DESCRIPTOR, "IdentityService"),
        (schema_pb2.DESCRIPTOR, "SchemaService"),
        (privacy_pb2.DESCRIPTOR, "PrivacyService"),
        (admin_pb2.DESCRIPTOR, "AdminService"),
    )
]


@dataclass(frozen=True, slots=True)
class _Router:
    """Parts that the services of a router share."""

    data: Path
    routing: Routing
    clock: Clock
    observing: Observing
    rates: Rates
    threads: ThreadPoolExecutor
    piped: dict[str, grpc.RpcMethodHandler[Any, Any]] = field(default_factory=dict)  # served over pipes as well

    async def serve(self, server: grpc.aio.Server) -> Mapping[str, Loop]:
        """Adds all services to a server; returns the loops to run alongside it, by name."""
        routing = self.routing
        schema = SchemaGate(routing, self.observing.ingest.violated)
        limits = IdentifierLimits.from_environment()
        taking = Ingest(routing, self.clock, self.threads, Blocked.from_environment(), schema, limits)
        ingest = IngestService(taking, self.observing.ingest, self.rates)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        await self._serve_questions(server)
        erasures = Erasures(routing, self.clock, DeadLetters(self.data / FOLDER_OF_LETTERS))
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(IdentityService(Identities(routing)), server)
        discretion = Discretion(SharedPrivacy(routing))
        schema_pb2_grpc.add_SchemaServiceServicer_to_server(SchemaService(routing, schema, discretion, limits), server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(routing, erasures), server)
        moving = Mover(routing)
        return {"schema": schema.keep_known, "profiles": moving.keep_settled, "erasures": erasures.keep_finished}

    async def _serve_questions(self, server: grpc.aio.Server) -> None:
        segments, old_segments = SharedSegments(self.routing), self.data / "segments.json"
        if old_segments.exists():
            await segments.take_over(old_segments, Deadline.after(None, QUERY_SECONDS_DEFAULT))
        privacy, queries = SharedPrivacy(self.routing), Queries(self.routing, self.clock, segments)
        discretion = Discretion(privacy)
        asking = QueryService(queries, discretion, self.observing.queries)
        named = SegmentService(segments, self.clock, discretion)
        query_pb2_grpc.add_QueryServiceServicer_to_server(asking, server)
        self.piped[QUERY] = grpc.unary_unary_rpc_method_handler(
            asking.Query, query_pb2.QueryRequest.FromString, query_pb2.QueryResponse.SerializeToString
        )
        self.piped[MEMBERS] = grpc.unary_stream_rpc_method_handler(
            asking.Members, query_pb2.MembersRequest.FromString, query_pb2.MembersResponse.SerializeToString
        )
        profile_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileService(queries, discretion), server)
        export_pb2_grpc.add_ExportServiceServicer_to_server(ExportService(self.routing), server)
        proof_pb2_grpc.add_ProofServiceServicer_to_server(ProofService(queries, discretion), server)
        named_segment_pb2_grpc.add_SegmentServiceServicer_to_server(named, server)
        privacy_pb2_grpc.add_PrivacyServiceServicer_to_server(PrivacyService(privacy), server)


def _doors(arguments: argparse.Namespace) -> _Doors:
    tls = tls_of(arguments)
    asks = tls is not None and tls.ca is not None and not arguments.any_client
    return _Doors(arguments.address, open_keys(ClusterDirectory(arguments.data), arguments.keys), tls, asks)


def _line_of_supervisor() -> str:
    """The line that a supervisor writes once all shards are ready; ends the process if the supervisor is gone."""
    return sys.stdin.readline() or sys.exit(0)


def main() -> None:
    """Parses arguments and serve."""
    parser = argparse.ArgumentParser(description="Serve the router of a cluster.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alone", action="store_true", help="started by hand: standard input is no supervisor")
    parser.add_argument("--number", type=int, default=0, help="number of this router among several on this machine")
    parser.add_argument("--address", default="127.0.0.1:0")
    parser.add_argument("--shards-at", help="addresses of shards, as JSON, if addresses.json could not be written")
    parser.add_argument(AFTER_SHARDS, action="store_true", help="read --shards-at from standard input, and begin then")
    parser.add_argument("--keys", type=Path, help="the file of API keys; else keys.json in the data directory")
    add_tls_arguments(parser)
    parser.add_argument("--any-client", action="store_true", help="clients need not show a certificate")
    arguments = parser.parse_args()
    start_logging()
    try:
        directory = ClusterDirectory(arguments.data)
        doors = _doors(arguments)
        shards_at = _line_of_supervisor if arguments.after_shards else lambda: arguments.shards_at or "{}"
        run_process(lambda: _serve(directory, doors, arguments.number, shards_at, is_alone=arguments.alone))
    except (StoreError, RouterError, CredentialsUnusable) as error:
        _LOG.error("%s", error)
        report(Report("failed", str(error)))
        sys.exit(EXIT_REFUSED)
    except (OSError, RuntimeError) as error:  # gRPC reports a port in use as RuntimeError
        _LOG.error("%s", error)
        report(Report("failed", f"cannot serve on {arguments.address}: {error}"))
        sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
