"""Questions are read beside the event loop, once, and what is long waits for nothing but its like."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import query_pb2

from cdp_query import pipeline, tree
from cdp_query.bind.names import Names
from cdp_query.errors import QueryInvalid, QuerySyntaxError
from cdp_query.limits import QUERY_TEXT_CHARACTERS_MAX
from cdp_router.contract.question_codec import to_question
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, Overloaded
from cdp_router.limits import LONG_QUESTION_BYTES, QUERIES_WAITING_MAX
from cdp_router.questions.question_reading import Aside, Asked, Remembered, Said
from cdp_router.questions.shared_segments import SharedSegments
from tests.router.local_cluster import LocalCluster, far_deadline, local_cluster

LONG = " or ".join(f'did("A", amount > {number})' for number in range(200))
PATIENT = Deadline.after(None, 86_400.0)  # from when the module is loaded: a run of all tests takes minutes


class _Parser:
    """The parser, which holds long texts up until it is let go on, and notes what it read where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.may_go, self.read = threading.Event(), threading.Event(), list[str]()
        self.threads, self._parse = set[int](), pipeline.parse
        monkeypatch.setattr(pipeline, "parse", self)

    def __call__(self, text: str) -> Any:
        self.read.append(text)
        self.threads.add(threading.get_ident())
        if len(text) > LONG_QUESTION_BYTES:
            self.entered.set()
            assert self.may_go.wait(60)
        return self._parse(text)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path) as made:
        yield made


def test_a_long_question_that_is_being_read_holds_up_no_other(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = _Parser(monkeypatch)

    async def ask() -> tuple[int, int]:
        long = asyncio.create_task(cluster.asking.query(query_pb2.QueryRequest(text=LONG), far_deadline(), 0.0))
        await asyncio.to_thread(parser.entered.wait, 60)
        short = await cluster.asking.query(query_pb2.QueryRequest(text='not did("A")'), far_deadline(), 0.0)
        assert not long.done()
        parser.may_go.set()
        return short.count, (await long).count

    assert cluster.run(ask()) == (0, 0)
    assert threading.get_ident() not in parser.threads


def test_a_question_that_names_segments_is_parsed_once(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    segment, segments = pipeline.segment_of(pipeline.read('did("A")', None)), SharedSegments(cluster.routing)
    cluster.run(segments.change(lambda known: known.create("one", segment, "", 0), far_deadline()))
    parser = _Parser(monkeypatch)
    text = 'in_segment("one") and did("B")'
    cluster.run(cluster.asking.query(query_pb2.QueryRequest(text=text), far_deadline(), 0.0))
    other = text + ' and did("C")'

    async def members() -> None:
        async for _ in cluster.asking.members(query_pb2.MembersRequest(text=other), far_deadline()):
            pass

    cluster.run(members())
    assert parser.read == [text, other]


def test_reading_that_waits_is_bounded_and_ends_with_the_deadline() -> None:
    async def test() -> None:
        aside, may_go = Aside(), threading.Event()
        first = asyncio.create_task(aside.run(1, PATIENT, lambda: may_go.wait(60)))
        others = [asyncio.create_task(aside.run(1, PATIENT, int)) for _ in range(QUERIES_WAITING_MAX - 1)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await aside.run(1, PATIENT, int)
        assert await aside.run(LONG_QUESTION_BYTES + 1, PATIENT, int) == 0
        may_go.set()
        await asyncio.gather(first, *others)
        with pytest.raises(DeadlineMissed):
            await aside.run(1, Deadline.after(0, 60), int)

    asyncio.run(test())


def test_an_answer_is_finished_though_the_shards_have_used_up_the_time(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    class Used:
        """A deadline that passes while shards are asked."""

        at = float("inf")

        def remaining(self) -> float:
            return 0.0 if asked.is_set() else 60.0

    async def evaluated(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        return []

    monkeypatch.setattr(cluster.asking, "_evaluated", evaluated)
    request = query_pb2.QueryRequest(text="everyone", allow_partial=True)
    assert "PARTIAL" in cluster.run(cluster.asking.query(request, Used(), 0.0)).flags  # type: ignore[arg-type]


def test_what_waits_when_its_deadline_passes_is_not_begun() -> None:
    class Passing:
        """A deadline that passes between two looks at it."""

        looks = iter((60.0, 0.0))

        def remaining(self) -> float:
            return next(self.looks)

    async def test() -> None:
        with pytest.raises(DeadlineMissed, match="shorter"):
            await Aside().run(1, Passing(), lambda: pytest.fail("begun"))  # type: ignore[arg-type]

    asyncio.run(test())


def test_a_question_beyond_the_bound_says_how_long_it_may_be(cluster: LocalCluster) -> None:
    text = "x" * (QUERY_TEXT_CHARACTERS_MAX + 1)
    with pytest.raises(QuerySyntaxError, match=str(QUERY_TEXT_CHARACTERS_MAX)):
        cluster.run(cluster.asking.query(query_pb2.QueryRequest(text=text), far_deadline(), 0.0))


def test_trees_of_long_texts_are_not_kept(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = _Parser(monkeypatch)
    parser.may_go.set()
    for text in (LONG, 'did("B")'):
        for _ in range(2):
            cluster.run(cluster.asking.query(query_pb2.QueryRequest(text=text), far_deadline(), 0.0))
    assert parser.read == [LONG, LONG, 'did("B")']


def test_a_short_question_asked_again_is_neither_read_nor_handed_to_a_thread(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = _Parser(monkeypatch)
    request = query_pb2.QueryRequest(text='did("A") and plan = "gold"')
    first = cluster.run(cluster.asking.query(request, far_deadline(), 0.0))
    monkeypatch.setattr(Aside, "run", lambda *_: pytest.fail("handed to a thread"))
    monkeypatch.setattr(Aside, "finish", lambda *_: pytest.fail("handed to a thread"))
    again = cluster.run(cluster.asking.query(request, far_deadline(), 0.0))
    assert parser.read == [request.text]
    assert (again.text, again.plan_hash, again.question) == (first.text, first.plan_hash, first.question)
    with pytest.raises(DeadlineMissed):
        cluster.run(cluster.asking.query(request, Deadline.after(0, 60), 0.0))


@pytest.mark.parametrize("parts", [1, 60])
def test_a_question_asked_again_has_its_meaning_checked_at_its_own_instant(cluster: LocalCluster, parts: int) -> None:
    text = f"diff({' or '.join(['everyone'] * parts)}, from: 2020-01-01, to: 2025-01-01)"
    for year, is_known in ((2026, True), (2024, False), (2026, True)):
        request = query_pb2.QueryRequest(text=text)
        request.as_of.FromJsonString(f"{year}-01-01T00:00:00Z")
        asking = cluster.asking.query(request, far_deadline(), 0.0)
        if is_known:
            assert cluster.run(asking).HasField("diff")
        else:
            with pytest.raises(QueryInvalid, match="after the instant"):
                cluster.run(asking)


def test_a_question_that_names_segments_gets_the_newest_version_each_time(cluster: LocalCluster) -> None:
    segments, request = SharedSegments(cluster.routing), query_pb2.QueryRequest(text='in_segment("one")')
    for version, text in enumerate(('did("A")', 'did("B")'), 1):
        node = pipeline.segment_of(pipeline.read(text, None))
        cluster.run(segments.change(lambda known, node=node: known.create("one", node, "", 0), far_deadline()))
        found = cluster.run(cluster.asking.query(request, far_deadline(), 0.0))
        assert [each.version for each in found.used_segments] == [version]


def test_the_attribute_of_a_breakdown_belongs_to_what_is_remembered(cluster: LocalCluster) -> None:
    for by in ("", "plan", "", "country"):
        found = cluster.run(cluster.asking.query(query_pb2.QueryRequest(text="everyone", by=by), far_deadline(), 0.0))
        assert found.question.WhichOneof("form") == ("breakdown" if by else "segment")
        assert not by or found.question.breakdown.attribute == by


def test_the_question_asked_longest_ago_is_forgotten() -> None:
    question = pipeline.read("everyone", None)
    asked = Asked(Said(question, question, to_question(question), Names()), tree.Context(0))
    remembered = Remembered(2)
    for text in ("a", "b", "a", "c"):
        if remembered.get(text, "") is None:
            remembered.keep(text, "", asked)
    assert [text for text in ("a", "b", "c") if remembered.get(text, "")] == ["a", "c"]
