"""Named segments of a cluster with their versions: a value that is read, changed and written as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cdp.v1 import segment_pb2
from google.protobuf import json_format

from cdp_query import pipeline, tree
from cdp_query.errors import QueryInvalid
from cdp_query.language.named import Definition, Inliner, references
from cdp_query.language.suggest import nearest_hint
from cdp_router.contract.question_codec import from_segment, to_segment
from cdp_router.errors import RequestInvalid, SegmentInUse, SegmentNotFound
from cdp_router.limits import SEGMENT_VERSIONS_MAX, SEGMENTS_MAX
from cdp_store.errors import DirectoryDamaged
from cdp_store.limits import NAME_BYTES_MAX
from cdp_store.outside.sealed import decode_document

_FORMAT: Final = 1


class _StoredVersion(msgspec.Struct, frozen=True):
    """A version in the file: the segment as protobuf JSON of cdp.v1.Segment."""

    created_ms: int
    segment: dict[str, Any]
    description: str = ""


class _StoredSegments(msgspec.Struct, frozen=True):
    """The whole file: versions by name, the first being version 1."""

    format: int
    segments: dict[str, list[_StoredVersion]]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a named segment."""

    definition: Definition
    description: str
    created_ms: int


Versions = tuple[Version, ...]


class NamedSegments:
    """All named segments; never changed: what changes them gives others."""

    def __init__(self, segments: Mapping[str, Versions] | None = None) -> None:
        self._segments: Mapping[str, Versions] = segments or {}

    @staticmethod
    def read(content: bytes, where: str) -> NamedSegments:
        """The segments behind their written form; DirectoryDamaged says why there are none."""
        return NamedSegments(_read(content, Path(where)))

    def content(self) -> bytes:
        """Their written form: JSON."""
        stored = {name: [_to_stored(version) for version in versions] for name, versions in self._segments.items()}
        return msgspec.json.encode(_StoredSegments(_FORMAT, stored))

    def get(self, name: str, version: int | None = None) -> Version:
        """A version, the newest where none is asked for; SegmentNotFound with the nearest name."""
        return _chosen(self._segments, name, version)

    def newest(self) -> list[Version]:
        """The newest version of each, by name."""
        segments = self._segments
        return [segments[name][-1] for name in sorted(segments)]

    def lookup(self, name: str, version: int | None) -> Definition:
        """The definition that a question names; QueryInvalid where there is none."""
        return _looked_up(self._segments, name, version)

    def create(self, name: str, segment: tree.Node, description: str, now_ms: int) -> tuple[Version, NamedSegments]:
        """Add a segment or a version, checked; the newest version and nothing new where it says the same already."""
        if not 0 < len(name.encode(errors="replace")) <= NAME_BYTES_MAX or not name.isprintable():
            raise RequestInvalid("name", f"must be 1 to {NAME_BYTES_MAX} bytes of printable text")
        versions = self._segments.get(name, ())
        if versions and (repr(versions[-1].definition.segment), versions[-1].description) == (
            repr(segment),  # equality would not do, since 1 == True
            description,
        ):
            return versions[-1], self
        if not versions and len(self._segments) >= SEGMENTS_MAX:
            raise RequestInvalid("name", f"{SEGMENTS_MAX} segments exist; delete one first")
        if len(versions) >= SEGMENT_VERSIONS_MAX:
            raise RequestInvalid("name", f"{name!r} has {SEGMENT_VERSIONS_MAX} versions; use another name")
        made = Version(Definition(name, len(versions) + 1, segment), description, now_ms)
        after = {**self._segments, name: (*versions, made)}
        _check(made.definition, after, now_ms)
        return made, NamedSegments(after)

    def delete(self, name: str) -> tuple[int, NamedSegments]:
        """Remove a segment with its versions, of which it gives the number too; SegmentInUse while another names it."""
        self.get(name)
        users = [
            other
            for other, known in sorted(self._segments.items())
            if other != name and any(name in references(version.definition.segment) for version in known)
        ]
        if users:
            raise SegmentInUse(name, users)
        versions = len(self._segments[name])
        return versions, NamedSegments({other: known for other, known in self._segments.items() if other != name})


def _check(definition: Definition, segments: Mapping[str, Versions], now_ms: int) -> None:
    """Raise QueryInvalid for a definition that no question could use."""
    inliner = Inliner(lambda name, version: _looked_up(segments, name, version))
    pipeline.check(inliner.question(tree.InSegment(definition.name)), tree.Context(now_ms))


def _chosen(segments: Mapping[str, Versions], name: str, version: int | None) -> Version:
    versions = segments.get(name)
    if versions is None:
        raise SegmentNotFound(name, nearest_hint(name, segments))
    if version is None:
        return versions[-1]
    if not 1 <= version <= len(versions):
        raise SegmentNotFound(name, f"it has versions 1 to {len(versions)}", version)
    return versions[version - 1]


def _looked_up(segments: Mapping[str, Versions], name: str, version: int | None) -> Definition:
    try:
        return _chosen(segments, name, version).definition
    except SegmentNotFound as error:
        raise QueryInvalid(f"in_segment: {error}") from error


def _to_stored(version: Version) -> _StoredVersion:
    segment = json_format.MessageToDict(to_segment(version.definition.segment))
    return _StoredVersion(version.created_ms, segment, version.description)


def _read(content: bytes, path: Path) -> dict[str, Versions]:
    stored = decode_document(path, content, _StoredSegments, _FORMAT)
    try:
        return {
            name: tuple(_from_stored(name, number, version) for number, version in enumerate(versions, 1))
            for name, versions in stored.segments.items()
        }
    except (json_format.ParseError, RequestInvalid) as error:
        raise DirectoryDamaged(path, str(error)) from error


def _from_stored(name: str, number: int, stored: _StoredVersion) -> Version:
    segment = from_segment(json_format.ParseDict(stored.segment, segment_pb2.Segment()))
    return Version(Definition(name, number, segment), stored.description, stored.created_ms)
