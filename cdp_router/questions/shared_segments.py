"""The named segments of a cluster, as all of its routers share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from cdp_query.language.named import Definition
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shared_document import SharedDocument
from cdp_router.deadline import Deadline
from cdp_router.errors import SegmentsChanged
from cdp_router.questions.named_segments import NamedSegments

Result = TypeVar("Result")
DOCUMENT: Final = "segments"


class SharedSegments:
    """Named segments as this router knows them."""

    def __init__(self, routing: Routing) -> None:
        self._document = SharedDocument(
            routing,
            DOCUMENT,
            NamedSegments(),
            lambda content: NamedSegments.read(content, DOCUMENT),
            NamedSegments.content,
            SegmentsChanged,
        )

    @property
    def known(self) -> NamedSegments:
        """All segments, as known since the last `newest`."""
        return self._document.known

    def lookup(self, name: str, version: int | None) -> Definition:
        """The definition a question names, as known since the last `newest`."""
        return self.known.lookup(name, version)

    async def newest(self, deadline: Deadline) -> NamedSegments:
        """All segments as they are now."""
        return await self._document.newest(deadline)

    async def change(self, work: Callable[[NamedSegments], tuple[Result, NamedSegments]], deadline: Deadline) -> Result:
        """Do something to the newest segments, durably; SegmentsChanged where other routers were faster each time."""
        return await self._document.change(work, deadline)

    async def take_over(self, path: Path, deadline: Deadline) -> None:
        """Make those the cluster's that one router kept in a file of its own, as routers did once; then rename it."""
        old = NamedSegments.read(path.read_bytes(), str(path))
        await self.change(lambda known: (None, known if known.newest() else old), deadline)
        path.rename(path.with_suffix(".taken-over"))
