"""A gateway on a loopback port in front of a cluster in this process."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import requests
from cdp.v1 import ingest_pb2, profile_pb2_grpc, proof_pb2_grpc, query_pb2_grpc

from cdp_router.errors import Overloaded
from cdp_router.gateway.delivery import Delivery
from cdp_router.gateway.endpoints import gateway_app
from cdp_router.gateway.http_server import GatewayServer, listening_socket
from cdp_router.gateway.intake import Intake
from cdp_router.gateway.letters.dead_letters import DeadLetter, DeadLetters
from cdp_router.gateway.letters.letter_room import LetterRoom
from cdp_router.gateway.problems import busy
from cdp_router.gateway.query_side import QuerySide
from cdp_router.gateway.request_bytes import Bodies
from cdp_router.gateway.write_keys import AnySource, Sources
from cdp_router.observing.gateway_metrics import GatewayMetrics, MeasuredApp
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.gate import Gate, OpenGate
from cdp_router.security.privacy.discretion import Discretion
from cdp_router.security.privacy.privacy import SharedPrivacy
from cdp_router.services.profile_service import ProfileService
from cdp_router.services.proof_service import ProofService
from cdp_router.services.query_service import QueryService
from tests.router.local_cluster import LocalCluster, far_deadline

Result = TypeVar("Result")


class LoopThread:
    """An event loop that runs in a thread of its own; `run` waits for a coroutine on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Faults:
    """What goes wrong between gateway and cluster: each batch takes the first and then it is gone."""

    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)


class GatewayCluster:
    """HTTP to the gateway, and questions to the cluster behind it."""

    def __init__(self, cluster: LocalCluster, url: str, folder: Path, faults: Faults, runner: LoopThread) -> None:
        self.cluster, self.url, self.folder, self.faults, self.runner = cluster, url, folder, faults, runner
        self.batches: list[ingest_pb2.Batch] = []
        self.api_keys = set[str]()
        self.http = requests.Session()
        self.http.auth = ("web", "")

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Send a body, as JSON unless it is bytes; redirects are not followed."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.url + path, data=data, allow_redirects=False, timeout=30, **options)

    def count(self, text: str) -> int:
        """How many profiles are in a segment."""
        return self.cluster.query(text).count

    def profile(self, **name: str) -> Any:
        """A profile by one identifier."""
        return self.cluster.profile(**name)

    def letters(self) -> list[DeadLetter]:
        """All dead letters."""
        kept = DeadLetters(self.folder / "dead-letters")
        return [letter for directory in kept.sources() for letter in kept.letters(directory)]


@contextmanager
def gateway_cluster(
    folder: Path,
    sources: Sources | None = None,
    bodies: Bodies | None = None,
    gate: Gate | None = None,
    metrics: GatewayMetrics | None = None,
    room: LetterRoom | None = None,
    admits: Callable[[str, Mapping[str, str]], bool] = lambda method, headers: True,
) -> Iterator[GatewayCluster]:
    """A cluster and its gateway for the length of the block; the structures are validated at the end."""
    runner, faults = LoopThread(), Faults()
    with ThreadPoolExecutor(1) as threads:
        made: LocalCluster = runner.run(_made(lambda: LocalCluster(folder, runner, threads, lambda _, client: client)))  # type: ignore[arg-type]
        made.clock.now = time.time_ns() // 1_000_000
        served = list[GatewayCluster]()

        async def send(batch: ingest_pb2.Batch, api_key: str) -> ingest_pb2.BatchResult:
            served[0].batches.append(batch)
            served[0].api_keys.add(api_key)
            if faults.before:
                raise faults.before.pop(0)
            try:
                result = await made.taking.ingest(batch, far_deadline())
            except Overloaded as error:
                raise busy(str(error)) from error
            if faults.after:
                raise faults.after.pop(0)
            return result

        counted = metrics or GatewayMetrics()
        delivery = Delivery(send, omitted=counted.warnings_omitted)
        intake = Intake(
            sources or AnySource(), delivery, DeadLetters(folder / "dead-letters", room=room), made.clock, counted
        )
        listening = listening_socket("127.0.0.1:0")
        router, channel = runner.run(_router(made, gate or OpenGate()))
        held = bodies or Bodies()
        server = GatewayServer(
            MeasuredApp(gateway_app(intake, held, QuerySide([channel], held, admits), metrics=counted), counted)
        )
        serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listening]), runner.loop)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        served.append(GatewayCluster(made, url, folder, faults, runner))
        try:
            yield served[0]
            made.validate()
        finally:
            served[0].http.close()
            server.should_exit = True
            serving.result(60)
            listening.close()
            runner.run(_stopped(router, channel))
            for shard in made.servers:
                runner.run(shard.close())
            runner.close()


async def _made(make: Callable[[], Result]) -> Result:
    return make()


async def _router(made: LocalCluster, gate: Gate) -> tuple[grpc.aio.Server, grpc.aio.Channel]:
    """The services that answer questions, behind a socket, and a channel to them."""
    router = grpc.aio.server(interceptors=[Chain(gate)])
    discretion = Discretion(SharedPrivacy(made.routing))
    query_pb2_grpc.add_QueryServiceServicer_to_server(QueryService(made.asking, discretion), router)
    profile_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileService(made.asking, discretion), router)
    proof_pb2_grpc.add_ProofServiceServicer_to_server(ProofService(made.asking, discretion), router)
    port = router.add_insecure_port("127.0.0.1:0")
    await router.start()
    return router, grpc.aio.insecure_channel(f"127.0.0.1:{port}")


async def _stopped(router: grpc.aio.Server, channel: grpc.aio.Channel) -> None:
    await channel.close()
    await router.stop(0)
