"""Table of a shard server's methods and the parts that answer them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from cdp_router.cluster import shard_methods as methods
from cdp_router.cluster.shard_methods import Method, Request, Response, StreamMethod, UnaryMethod
from cdp_router.contract.arrow_streams import Pieces
from cdp_router.deadline import Deadline
from cdp_router.shard.server import ShardServer


class Handlers:
    """Serves the methods of one shard, each under the deadline of its caller."""

    def __init__(self, server: ShardServer) -> None:
        self._serving: dict[Method[Any, Any], Callable[[Any, Deadline], Any]] = {}
        self._add_questions(server)
        self._add_changes(server)
        self._add_upkeep(server)
        self._add_moves(server)

    async def call(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Response:
        """The response of a method."""
        response: Response = await self._serving[method](request, deadline)
        return response

    def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncIterator[Response | Pieces]:
        """The responses of a method, large ones encoded."""
        responses: AsyncIterator[Response | Pieces] = self._serving[method](request, deadline)
        return responses

    def _add_questions(self, server: ShardServer) -> None:
        self._timed(methods.EVALUATE, server.evaluate)
        self._streamed(methods.LIST_MEMBERS, server.list_members)
        self._streamed(methods.READ_ALL, server.read_all)
        self._timed(methods.PROVE_USER, server.prove_user)
        self._untimed(methods.READ_PROFILE, server.read_profile)
        self._untimed(methods.READ_RECORDS, server.people.read_records)
        self._untimed(methods.READ_RECEIPTS, server.people.read_receipts)
        self._untimed(methods.CAPTURE_VIEWS, server.capture_views)
        self._untimed(methods.READ_IDENTITY, server.read_identity)
        self._untimed(methods.READ_IDENTITIES, server.people.read_identities)
        self._untimed(methods.DISCOVER_NAMES, server.discover)
        self._untimed(methods.READ_SCHEMA, server.readings.schema)

    def _add_changes(self, server: ShardServer) -> None:
        self._untimed(methods.DELIVER, server.deliver)
        self._untimed(methods.CHANGE_IDENTITY, server.change_identity)
        self._untimed(methods.ERASE_PROFILES, server.erasing.erase)
        self._untimed(methods.CHANGE_SUPPRESSIONS, server.erasing.change_suppressions)
        self._untimed(methods.SCAN_FOR_IDENTIFIERS, server.erasing.scan)
        self._untimed(methods.CHANGE_RETENTION, server.change_retention)
        self._untimed(methods.CHANGE_QUARANTINE, server.quarantine.change)
        self._untimed(methods.READ_QUARANTINE, server.quarantine.read)
        self._untimed(methods.READ_DOCUMENT, server.documents.read)
        self._untimed(methods.WRITE_DOCUMENT, server.documents.write)

    def _add_upkeep(self, server: ShardServer) -> None:
        self._untimed(methods.READ_STATUS, lambda _: server.readings.status())
        self._untimed(methods.READ_DIGEST, server.read_digest)
        self._untimed(methods.TAKE_SNAPSHOT, server.take_snapshot)
        self._untimed(methods.PURGE_FILES, server.purge_files)
        self._untimed(methods.VERIFY_SNAPSHOTS, lambda _: server.verify_snapshots())

    def _add_moves(self, server: ShardServer) -> None:
        moves, giver, taker = server.moves, server.moves.giver, server.moves.taker
        self._untimed(methods.READ_HOLDINGS, moves.read_holdings)
        self._untimed(methods.TAKE_PARTITION, taker.take_partition)
        self._untimed(methods.STOP_TAKING, taker.stop)
        self._untimed(methods.EXPORT_PARTITION, giver.export)
        self._untimed(methods.READ_EXPORT, giver.read_export)
        self._untimed(methods.READ_TAIL, giver.read_tail)
        self._untimed(methods.RELEASE_PARTITION, giver.release)
        self._untimed(methods.FORGET_PARTITION, giver.forget)

    def _untimed(self, method: UnaryMethod[Request, Response], serve: Callable[[Request], Awaitable[Response]]) -> None:
        self._serving[method] = lambda request, _: serve(request)

    def _timed(
        self, method: UnaryMethod[Request, Response], serve: Callable[[Request, Deadline], Awaitable[Response]]
    ) -> None:
        self._serving[method] = serve

    def _streamed(
        self,
        method: StreamMethod[Request, Response],
        serve: Callable[[Request, Deadline], AsyncIterator[Response | Pieces]],
    ) -> None:
        self._serving[method] = serve
