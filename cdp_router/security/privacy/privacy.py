"""Settings of the values withheld from keys without profile-read, shared by all routers of a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shared_document import SharedDocument
from cdp_router.deadline import Deadline
from cdp_router.errors import PrivacyChanged, RequestInvalid
from cdp_store.limits import NAME_BYTES_MAX
from cdp_store.outside.sealed import decode_document

DOCUMENT: Final = "privacy"
SMALLEST_COUNT_DEFAULT: Final = 10
_SMALLEST_COUNT_MAX: Final = 1_000_000
_NAMES_MAX: Final = 10_000
_FORMAT: Final = 1


class Privacy(msgspec.Struct, frozen=True):
    """Names whose values are personal, and the smallest number of users that is reported."""

    personal: tuple[str, ...] = ()
    smallest_count: int = SMALLEST_COUNT_DEFAULT
    format: int = _FORMAT

    def is_personal(self, name: str) -> bool:
        """True if a name, or one that it is nested in, is marked."""
        parts = name.split(".")
        return any(".".join(parts[:depth]) in self.personal for depth in range(1, len(parts) + 1))

    def mark_above(self, name: str) -> str | None:
        """The marked name that a name is nested in; None: no name above it is marked."""
        parts = name.split(".")
        above = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        return next((each for each in above if each in self.personal), None)

    def holds_personal(self, name: str) -> bool:
        """True if values of a name may be personal: the name is marked, or one nested in it is."""
        return self.is_personal(name) or any(marked.startswith(f"{name}.") for marked in self.personal)

    def changed(self, mark: Iterable[str], unmark: Iterable[str], smallest_count: int | None) -> Privacy:
        """The settings with other marks; RequestInvalid names contradictions."""
        added, taken = set(mark), set(unmark)
        for field, names in (("mark", added), ("unmark", taken)):
            if not all(0 < len(name.encode()) <= NAME_BYTES_MAX for name in names):
                raise RequestInvalid(field, f"names have 1 to {NAME_BYTES_MAX} bytes")
        if added & taken:
            raise RequestInvalid("unmark", f"{min(added & taken)!r} is to be marked too")
        personal = tuple(sorted((set(self.personal) | added) - taken))
        if len(personal) > _NAMES_MAX:
            raise RequestInvalid("mark", f"{len(personal)} names; at most {_NAMES_MAX}")
        count = self.smallest_count if smallest_count is None else smallest_count
        if count > _SMALLEST_COUNT_MAX:
            raise RequestInvalid("smallest_count", f"at most {_SMALLEST_COUNT_MAX}")
        after = Privacy(personal, count)
        return self if after == self else after


class SharedPrivacy:
    """The last settings that this router knows."""

    def __init__(self, routing: Routing) -> None:
        self._document = SharedDocument(routing, DOCUMENT, Privacy(), _read, msgspec.json.encode, PrivacyChanged)

    async def newest(self, deadline: Deadline) -> Privacy:
        """Settings in force now."""
        return await self._document.newest(deadline)

    async def change(
        self, mark: Iterable[str], unmark: Iterable[str], smallest_count: int | None, deadline: Deadline
    ) -> Privacy:
        """Changes the settings, durably."""

        def work(known: Privacy) -> tuple[Privacy, Privacy]:
            after = known.changed(mark, unmark, smallest_count)
            return after, after

        return await self._document.change(work, deadline)


def _read(content: bytes) -> Privacy:
    return decode_document(Path(DOCUMENT), content, Privacy, _FORMAT)
