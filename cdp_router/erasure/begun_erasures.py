"""Erasures that have begun and may be unfinished: recorded before the first part is erased, removed after the last.

While they are under way they name the people to erase in clear, because a router has to finish them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shared_document import SharedDocument
from cdp_router.errors import ErasuresChanged
from cdp_store.directory.documents import ERASURES
from cdp_store.outside.sealed import decode_document

DOCUMENT: Final = ERASURES
_FORMAT: Final = 1
_NUMBER_BITS: Final = 62


class Begun(msgspec.Struct, frozen=True):
    """One erasure: the (kind, value) of all identifiers, and whether they will be suppressed."""

    identifiers: frozenset[tuple[str, str]]
    suppress: bool = False


class BegunErasures(msgspec.Struct, frozen=True):
    """All of them, by number."""

    format: int = _FORMAT
    erasures: dict[int, Begun] = {}

    def about(self, identifiers: Iterable[tuple[str, str]]) -> dict[int, Begun]:
        """Those of people with one of these identifiers."""
        wanted = set(identifiers)
        return {number: each for number, each in self.erasures.items() if each.identifiers & wanted}

    def begin(self, begun: Begun) -> tuple[int, BegunErasures]:
        """The document with one more erasure, which includes those about the same people; and its number."""
        others = self.about(begun.identifiers)
        # No number is used again: it tells an erasure from a later one of the same people.
        number = secrets.randbits(_NUMBER_BITS)
        whole = Begun(
            begun.identifiers.union(*(each.identifiers for each in others.values())),
            begun.suppress or any(each.suppress for each in others.values()),
        )
        kept = {number: each for number, each in self.erasures.items() if number not in others}
        return number, BegunErasures(_FORMAT, {**kept, number: whole})

    def end(self, number: int) -> tuple[None, BegunErasures]:
        """The document without one erasure."""
        if number not in self.erasures:
            return None, self
        return None, BegunErasures(_FORMAT, {other: each for other, each in self.erasures.items() if other != number})


def shared_erasures(routing: Routing) -> SharedDocument[BegunErasures]:
    """The shared document of the cluster."""
    return SharedDocument(routing, DOCUMENT, BegunErasures(), _read, msgspec.json.encode, ErasuresChanged)


def _read(content: bytes) -> BegunErasures:
    return decode_document(Path(DOCUMENT), content, BegunErasures, _FORMAT)
