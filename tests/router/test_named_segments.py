"""Named segments: versions, durability, and questions that use them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.pipeline import segment_of
from cdp_router import named_segments
from cdp_router.errors import RequestInvalid, SegmentInUse, SegmentNotFound, SegmentsNotSaved
from cdp_router.named_segments import NamedSegments
from cdp_router.queries import Queries
from cdp_router.wire.segments import from_segment, to_segment
from cdp_store.errors import DirectoryDamaged
from cdp_store.seams import OsFiles
from tests.router.encodings import Sent, protobuf_batch
from tests.router.faulty_files import FaultyFiles
from tests.router.local_cluster import NOW_MS, local_cluster


def _segment(text: str) -> tree.Node:
    return segment_of(parse(text))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segments.json"


@pytest.fixture
def segments(path: Path) -> NamedSegments:
    return NamedSegments(path, OsFiles())


def test_versions_count_up_and_stay(segments: NamedSegments, path: Path) -> None:
    for number, text in enumerate(("a = 1", "a = 2", "a = 2.0"), 1):
        made = segments.create("vip", _segment(text), "", NOW_MS + number)
        assert made.definition.version == number
    again = NamedSegments(path, OsFiles())
    assert [again.get("vip", version).definition.segment for version in (1, 2, 3, None)] == [
        _segment(text) for text in ("a = 1", "a = 2", "a = 2.0", "a = 2.0")
    ]
    assert again.get("vip").created_ms == NOW_MS + 3
    assert [version.definition.name for version in again.newest()] == ["vip"]


def test_the_same_again_is_no_new_version(segments: NamedSegments) -> None:
    segments.create("vip", _segment("a = 1"), "why", 1)
    assert segments.create("vip", _segment("a = 1"), "why", 2).created_ms == 1
    assert segments.create("vip", _segment("a = true"), "why", 3).definition.version == 2
    assert segments.create("vip", _segment("a = true"), "because", 3).definition.version == 3


def test_what_is_not_there_is_said_with_the_nearest_name(segments: NamedSegments) -> None:
    segments.create("customers", _segment("a = 1"), "", 1)
    with pytest.raises(SegmentNotFound, match="did you mean 'customers'"):
        segments.get("custmers")
    with pytest.raises(SegmentNotFound, match="versions 1 to 1"):
        segments.get("customers", 2)
    with pytest.raises(QueryInvalid, match="did you mean 'customers'"):
        segments.lookup("custmers", None)


def test_a_circle_never_comes_to_be(segments: NamedSegments) -> None:
    segments.create("a", _segment("x = 1"), "", 1)
    segments.create("b", _segment('in_segment("a")'), "", 1)
    with pytest.raises(QueryInvalid, match="circle: 'a' -> 'b' -> 'a'"):
        segments.create("a", _segment('in_segment("b")'), "", 1)
    assert segments.get("a").definition.version == 1
    made = segments.create("a", _segment('in_segment("a", version: 1) and y = 1'), "", 1)
    assert made.definition.version == 2


@pytest.mark.parametrize("text", ['in_segment("nobody")', "age between 5 and 1"])
def test_what_no_question_could_use_is_refused(segments: NamedSegments, text: str) -> None:
    with pytest.raises(QueryInvalid):
        segments.create("vip", _segment(text), "", 1)
    assert segments.newest() == []


@pytest.mark.parametrize("name", ["", "x" * 121, "a\nb", "\ud800"])
def test_names_that_cannot_be_kept_are_refused(segments: NamedSegments, name: str) -> None:
    with pytest.raises(RequestInvalid, match="name"):
        segments.create(name, _segment("a = 1"), "", 1)


def test_a_segment_in_use_is_not_deleted(segments: NamedSegments, path: Path) -> None:
    segments.create("a", _segment("x = 1"), "", 1)
    segments.create("b", _segment('in_segment("a")'), "", 1)
    segments.create("b", _segment("y = 1"), "", 1)
    with pytest.raises(SegmentInUse, match="named by 'b'"):  # version 1 still can be asked for
        segments.delete("a")
    assert segments.delete("b") == 2
    assert segments.delete("a") == 1
    assert NamedSegments(path, OsFiles()).newest() == []
    with pytest.raises(SegmentNotFound):
        segments.delete("a")


def test_a_change_that_cannot_be_written_is_not_taken(path: Path) -> None:
    files = FaultyFiles()
    segments = NamedSegments(path, files)
    segments.create("a", _segment("x = 1"), "", 1)
    for room, sync_error in ((10, None), (None, OSError(errno.EIO, "Input/output error"))):
        files.room, files.sync_error = room, sync_error
        with pytest.raises(SegmentsNotSaved, match="cannot be written"):
            segments.create("a", _segment("x = 2"), "", 2)
        with pytest.raises(SegmentsNotSaved):
            segments.delete("a")
        assert segments.get("a").definition.version == 1
        assert NamedSegments(path, OsFiles()).get("a").definition.version == 1
    files.room = files.sync_error = None
    assert segments.create("a", _segment("x = 2"), "", 3).definition.version == 2


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"format": 2, "segments": {}}', '{"format": 1, "segments": {"a": [{"created_ms": 1, "segment": {}}]}}',
     '{"format": 1, "segments": {"a": [{"created_ms": 1, "segment": {"no": 1}}]}}'],
)  # fmt: skip
def test_a_damaged_file_is_named(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(DirectoryDamaged, match=r"segments\.json"):
        NamedSegments(path, OsFiles())


def test_limits_are_errors(segments: NamedSegments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_segments, "SEGMENTS_MAX", 1)
    monkeypatch.setattr(named_segments, "SEGMENT_VERSIONS_MAX", 2)
    segments.create("a", _segment("x = 1"), "", 1)
    segments.create("a", _segment("x = 2"), "", 1)
    with pytest.raises(RequestInvalid, match="2 versions"):
        segments.create("a", _segment("x = 3"), "", 1)
    with pytest.raises(RequestInvalid, match="1 segments exist"):
        segments.create("b", _segment("x = 3"), "", 1)


@pytest.mark.parametrize("reference", [tree.InSegment("vip"), tree.InSegment("vip", 3)])
def test_a_reference_survives_the_wire(reference: tree.InSegment) -> None:
    assert from_segment(to_segment(reference)) == reference


def test_questions_use_named_segments_at_their_own_instant(tmp_path: Path, segments: NamedSegments) -> None:
    segments.create("vip", _segment('plan = "gold"'), "", 1)
    segments.create("active vip", _segment('in_segment("vip") and did("View", last: 7d)'), "", 1)
    day = 86_400_000
    with local_cluster(tmp_path / "cluster") as cluster:
        cluster.ingest(
            protobuf_batch(
                [
                    Sent(None, "ann", NOW_MS - 20 * day, {"plan": "gold"}),
                    Sent(None, "bob", NOW_MS - 2 * day, {"plan": "gold"}),
                    Sent("View", "ann", NOW_MS - 12 * day, {}),
                    Sent("View", "bob", NOW_MS - day, {}),
                ]
            )
        )
        cluster.asking = Queries(cluster.routing, cluster.clock, segments.lookup)
        for as_of_ms, expected in ((NOW_MS, "bob"), (NOW_MS - 10 * day, "ann")):
            answer = cluster.query('in_segment("active vip")', as_of_ms)
            assert answer.count == 1
            assert answer.text == 'in_segment("active vip")'
            assert [(used.name, used.version) for used in answer.used_segments] == [("active vip", 1), ("vip", 1)]
            counted = cluster.query('in_segment("vip") and did("View")', as_of_ms, by="plan")
            assert [row.count for row in counted.breakdown] == [counted.count]
            if as_of_ms == NOW_MS:
                assert cluster.members('in_segment("active vip")')[0] == [("user_id", expected)]
        with pytest.raises(QueryInvalid, match="did you mean 'vip'"):
            cluster.query('in_segment("vp")')
