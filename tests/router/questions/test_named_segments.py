"""Named segments: versions, durability, and questions that use them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.pipeline import segment_of
from cdp_router.cluster.routing import Routing
from cdp_router.contract.question_codec import from_segment, to_segment
from cdp_router.errors import RequestInvalid, SegmentInUse, SegmentNotFound
from cdp_router.questions import named_segments
from cdp_router.questions.named_segments import NamedSegments, Version
from cdp_router.questions.shared_segments import SharedSegments
from cdp_store.errors import DirectoryDamaged
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster


def _segment(text: str) -> tree.Node:
    return segment_of(parse(text))


class Kept:
    """Named segments that stay what they were changed to."""

    def __init__(self) -> None:
        self.known = NamedSegments()

    def create(self, *what: Any) -> Version:
        made, self.known = self.known.create(*what)
        return made

    def delete(self, name: str) -> int:
        count, self.known = self.known.delete(name)
        return count

    def again(self) -> NamedSegments:
        return NamedSegments.read(self.known.content(), "segments")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.known, name)


@pytest.fixture
def segments() -> Kept:
    return Kept()


def test_versions_count_up_and_stay(segments: Kept) -> None:
    for number, text in enumerate(("a = 1", "a = 2", "a = 2.0"), 1):
        made = segments.create("vip", _segment(text), "", NOW_MS + number)
        assert made.definition.version == number
    again = segments.again()
    assert [again.get("vip", version).definition.segment for version in (1, 2, 3, None)] == [
        _segment(text) for text in ("a = 1", "a = 2", "a = 2.0", "a = 2.0")
    ]
    assert again.get("vip").created_ms == NOW_MS + 3
    assert [version.definition.name for version in again.newest()] == ["vip"]


def test_the_same_again_is_no_new_version(segments: Kept) -> None:
    segments.create("vip", _segment("a = 1"), "why", 1)
    assert segments.create("vip", _segment("a = 1"), "why", 2).created_ms == 1
    assert segments.create("vip", _segment("a = true"), "why", 3).definition.version == 2
    assert segments.create("vip", _segment("a = true"), "because", 3).definition.version == 3


def test_what_is_not_there_is_said_with_the_nearest_name(segments: Kept) -> None:
    segments.create("customers", _segment("a = 1"), "", 1)
    with pytest.raises(SegmentNotFound, match="did you mean 'customers'"):
        segments.get("custmers")
    with pytest.raises(SegmentNotFound, match="versions 1 to 1"):
        segments.get("customers", 2)
    with pytest.raises(QueryInvalid, match="did you mean 'customers'"):
        segments.lookup("custmers", None)


def test_a_circle_never_comes_to_be(segments: Kept) -> None:
    segments.create("a", _segment("x = 1"), "", 1)
    segments.create("b", _segment('in_segment("a")'), "", 1)
    with pytest.raises(QueryInvalid, match="circle: 'a' -> 'b' -> 'a'"):
        segments.create("a", _segment('in_segment("b")'), "", 1)
    assert segments.get("a").definition.version == 1
    made = segments.create("a", _segment('in_segment("a", version: 1) and y = 1'), "", 1)
    assert made.definition.version == 2


@pytest.mark.parametrize("text", ['in_segment("nobody")', "age between 5 and 1"])
def test_what_no_question_could_use_is_refused(segments: Kept, text: str) -> None:
    with pytest.raises(QueryInvalid):
        segments.create("vip", _segment(text), "", 1)
    assert segments.newest() == []


@pytest.mark.parametrize("name", ["", "x" * 121, "a\nb", "\ud800"])
def test_names_that_cannot_be_kept_are_refused(segments: Kept, name: str) -> None:
    with pytest.raises(RequestInvalid, match="name"):
        segments.create(name, _segment("a = 1"), "", 1)


def test_a_segment_in_use_is_not_deleted(segments: Kept) -> None:
    segments.create("a", _segment("x = 1"), "", 1)
    segments.create("b", _segment('in_segment("a")'), "", 1)
    segments.create("b", _segment("y = 1"), "", 1)
    with pytest.raises(SegmentInUse, match="named by 'b'"):  # version 1 still can be asked for
        segments.delete("a")
    assert segments.delete("b") == 2
    assert segments.delete("a") == 1
    assert segments.again().newest() == []
    with pytest.raises(SegmentNotFound):
        segments.delete("a")


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"format": 0, "segments": {}}', '{"format": 1, "segments": {"a": [{"created_ms": 1, "segment": {}}]}}',
     '{"format": 1, "segments": {"a": [{"created_ms": 1, "segment": {"no": 1}}]}}'],
)  # fmt: skip
def test_what_is_damaged_is_named(content: str) -> None:
    with pytest.raises(DirectoryDamaged, match="segments is damaged"):
        NamedSegments.read(content.encode(), "segments")


def test_limits_are_errors(segments: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
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


def _create(cluster: LocalCluster, segments: SharedSegments, name: str, text: str) -> Version:
    return cluster.run(segments.change(lambda known: known.create(name, _segment(text), "", NOW_MS), far_deadline()))


def test_routers_change_segments_without_losing_one_anothers_changes(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        routers = [SharedSegments(Routing(CLUSTER, cluster.shards)) for _ in range(3)]

        async def all_at_once() -> list[Version]:
            return await asyncio.gather(
                *(
                    router.change(
                        lambda known, n=n: known.create(f"s{n % 4}", _segment(f"a = {n}"), "", NOW_MS), far_deadline()
                    )
                    for n, router in enumerate(routers * 4)
                )
            )

        made = cluster.run(all_at_once())
        assert sorted((each.definition.name, each.definition.version) for each in made) == [
            (f"s{name}", version) for name in range(4) for version in (1, 2, 3)
        ]
        for router in routers:
            newest = cluster.run(router.newest(far_deadline())).newest()
            assert [(each.definition.name, each.definition.version) for each in newest] == [
                (f"s{name}", 3) for name in range(4)
            ]
        with pytest.raises(SegmentNotFound):
            cluster.run(routers[0].change(lambda known: known.delete("nobody"), far_deadline()))


def test_segments_that_one_router_kept_in_a_file_become_the_clusters(tmp_path: Path, segments: Kept) -> None:
    segments.create("vip", _segment("a = 1"), "", 1)
    path = tmp_path / "segments.json"
    with local_cluster(tmp_path / "cluster") as cluster:
        path.write_bytes(segments.known.content())
        cluster.run(SharedSegments(cluster.routing).take_over(path, far_deadline()))
        found = cluster.run(SharedSegments(cluster.routing).newest(far_deadline())).newest()
        assert [each.definition.name for each in found] == ["vip"]
        assert not path.exists()


def test_questions_use_named_segments_at_their_own_instant(tmp_path: Path) -> None:
    day = 86_400_000
    with local_cluster(tmp_path / "cluster") as cluster:
        elsewhere = SharedSegments(cluster.routing)  # as of another router
        for name, text in (("vip", 'plan = "gold"'), ("active vip", 'in_segment("vip") and did("View", last: 7d)')):
            _create(cluster, elsewhere, name, text)
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
