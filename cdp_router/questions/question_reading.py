"""Questions read beside the event loop: what somebody asks at length holds up nobody else.

Reading is Python work of some milliseconds a kilobyte of text. Long questions have a thread of their own, so that short
ones never wait behind them, and each is parsed once, also where it names segments. What a short text says is
remembered, ready to be scattered and to be repeated in answers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any, Final, TypeVar

from cdp.v1 import proof_pb2, query_pb2, segment_pb2

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Findings
from cdp_query.bind.names import Names, names_of
from cdp_query.language import print_question
from cdp_query.language.cql import read_cql
from cdp_query.language.named import Definition, Inliner, Lookup
from cdp_router.contract.question_codec import from_question, from_segment, to_question
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, Overloaded, RequestInvalid
from cdp_router.limits import (
    LONG_QUESTION_BYTES,
    QUERIES_WAITING_MAX,
    QUERY_RETRY_AFTER_MS,
    QUESTIONS_REMEMBERED,
)
from cdp_router.questions.shared_segments import SharedSegments

AboutUsers = query_pb2.MembersRequest | proof_pb2.ExplainUserRequest
Result = TypeVar("Result")
_CHECKED_AT_ONCE_CHARACTERS: Final = 512  # a third of a millisecond; longer ones are checked aside
_PROBLEM: Final = "the deadline passed before the question was read; allow more time, or ask a shorter one"


@dataclass(frozen=True)
class Said:
    """A question as it came and as it is evaluated: checked, with named segments written out, and as a message.

    The forms that only answers need are made with the first one.
    """

    asked: tree.Question
    question: tree.Question
    plan: segment_pb2.Question
    names: Names

    @cached_property
    def text(self) -> str:
        """The question as it came, as a text."""
        return print_question(self.asked)

    @cached_property
    def message(self) -> segment_pb2.Question:
        """The question as it came, as a message."""
        return to_question(self.asked)

    @cached_property
    def plan_hash(self) -> str:
        """Hash that identifies the evaluated question whatever its spelling."""
        return tree_hash(self.plan)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question at an instant, and the versions of the named segments in it."""

    said: Said
    context: tree.Context
    used: Sequence[tuple[str, int]] = ()


@dataclass(slots=True)
class _Lane:
    """One thread, and how many pieces of work wait for it or are on it."""

    threads: ThreadPoolExecutor
    count: int = 0


@dataclass(slots=True)
class Aside:
    """Two threads beside the event loop: for what is short, and for what may take long."""

    short: _Lane = field(default_factory=lambda: _Lane(ThreadPoolExecutor(1, "short question")))
    long: _Lane = field(default_factory=lambda: _Lane(ThreadPoolExecutor(1, "long question")))

    async def run(self, size: int, deadline: Deadline, work: Callable[[], Result]) -> Result:
        """The result of work on something of so many bytes; Overloaded where too much waits, DeadlineMissed late."""
        lane = self._lane(size)
        if lane.count >= QUERIES_WAITING_MAX:
            raise Overloaded(f"{lane.count} questions wait to be read", QUERY_RETRY_AFTER_MS)
        if not deadline.remaining():
            raise DeadlineMissed(_PROBLEM)
        lane.count += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(lane.threads, _in_time, work, deadline)
        finally:
            lane.count -= 1

    async def finish(self, size: int, work: Callable[[], Result]) -> Result:
        """The same for what is worth its answer already, however late it is."""
        return await asyncio.get_running_loop().run_in_executor(self._lane(size).threads, work)

    def _lane(self, size: int) -> _Lane:
        return self.long if size > LONG_QUESTION_BYTES else self.short


def _in_time(work: Callable[[], Result], deadline: Deadline) -> Result:
    if not deadline.remaining():
        raise DeadlineMissed(_PROBLEM)
    return work()


@dataclass(slots=True)
class _Checked:
    """A remembered question, and the context that it was last checked for."""

    said: Said
    context: tree.Context
    findings: Findings = field(default_factory=Findings)

    def holds_for(self, context: tree.Context) -> bool:
        """True if the check holds in another context as well."""
        return self.context.as_of_ms == context.as_of_ms and self.context.tz == context.tz


class Remembered:
    """The questions that were asked last, by their text and attribute; only for the event loop."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._known = OrderedDict[tuple[str, str], _Checked]()

    def get(self, text: str, by: str) -> _Checked | None:
        """The question of a text, if it is remembered."""
        found = self._known.get((text, by))
        if found is not None:
            self._known.move_to_end((text, by))
        return found

    def keep(self, text: str, by: str, asked: Asked) -> None:
        """Remembers a question without names of segments, whose versions may change."""
        self._known[text, by] = _Checked(asked.said, asked.context)
        if len(self._known) > self._count_max:
            self._known.popitem(last=False)


class QuestionReader:
    """Reads what requests ask."""

    def __init__(self, segments: SharedSegments) -> None:
        self._segments, self.aside = segments, Aside()
        # What a text says does not depend on anything else, and dashboards ask the same ones again and again.
        self._remembered = lru_cache(maxsize=QUESTIONS_REMEMBERED)(pipeline.read)
        self._checked = Remembered(QUESTIONS_REMEMBERED)

    async def asked(self, request: query_pb2.QueryRequest, context: tree.Context, deadline: Deadline) -> Asked:
        """The question of a request, checked."""
        text, by = request.text, request.by
        if text and (known := self._checked.get(text, by)) is not None:
            return await self._again(known, text, context, deadline)
        run = partial(self.aside.run, request.ByteSize(), deadline)
        question = await run(lambda: self._question(request))
        if (found := await run(lambda: _without_names(question, context))) is None:
            await self._segments.newest(deadline)
            return await run(lambda: _checked(question, context, self._segments.lookup))
        if text and len(text) + len(by) <= LONG_QUESTION_BYTES:
            self._checked.keep(text, by, found)
        return found

    async def _again(self, known: _Checked, text: str, context: tree.Context, deadline: Deadline) -> Asked:
        """A remembered question at another instant, where its windows may have no meaning."""
        if not deadline.remaining():
            raise DeadlineMissed(_PROBLEM)
        if not known.holds_for(context):
            check = partial(pipeline.check_meaning, known.said.asked, context, known.findings)
            await self.aside.run(len(text), deadline, check) if len(text) > _CHECKED_AT_ONCE_CHARACTERS else check()
            known.context = context
        return Asked(known.said, context)

    async def segment(
        self, request: AboutUsers, context: tree.Context, deadline: Deadline, *, as_written: bool = False
    ) -> Asked:
        """The segment of a request about users; where it is wanted `as_written`, without rules."""
        run = partial(self.aside.run, request.ByteSize(), deadline)
        question = await run(lambda: self._segment(request))
        if (found := await run(lambda: _without_names(question, context, as_written=as_written))) is None:
            await self._segments.newest(deadline)
            found = await run(lambda: _checked(question, context, self._segments.lookup, as_written=as_written))
        return found

    def _read(self, text: str, by: str | None) -> tree.Question:
        # The tree of a long text takes megabytes; hundreds of those are not worth their memory.
        return self._remembered(text, by) if len(text) <= LONG_QUESTION_BYTES else pipeline.read(text, by)

    def _question(self, request: query_pb2.QueryRequest) -> tree.Question:
        match request.WhichOneof("question"):
            case "tree":
                return pipeline.broken_down(from_question(request.tree), request.by or None)
            case "cql":
                return pipeline.broken_down(read_cql(request.cql), request.by or None)
        if not request.text:
            raise RequestInvalid("question", "a text, a tree or CQL must be given")
        return self._read(request.text, request.by or None)

    def _segment(self, request: AboutUsers) -> tree.Node:
        """QueryInvalid where a report is asked for."""
        match request.WhichOneof("question"):
            case "segment":
                return from_segment(request.segment)
            case "cql":
                return read_cql(request.cql)
        return pipeline.segment_of(self._read(request.text, None))


class _NamesSegments(Exception):
    """A question names a segment."""


def _meet_one(*_: object) -> Definition:
    raise _NamesSegments


def _without_names(question: tree.Question, context: tree.Context, **how: Any) -> Asked | None:
    """The question, checked; None where it names segments, which have to be asked for first."""
    try:
        return _checked(question, context, _meet_one, **how)
    except _NamesSegments:
        return None


def _checked(question: tree.Question, context: tree.Context, lookup: Lookup, *, as_written: bool = False) -> Asked:
    inliner = Inliner(lookup)
    written = inliner.question(question)
    checked = pipeline.check(written, context)
    kept = written if as_written else checked
    return Asked(Said(question, kept, to_question(kept), names_of(checked)), context, list(inliner.used))


def tree_hash(plan: segment_pb2.Question) -> str:
    """Hash that identifies an evaluated question whatever its spelling."""
    return hashlib.blake2b(plan.SerializeToString(deterministic=True), digest_size=8).hexdigest()
