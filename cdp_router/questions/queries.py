"""A question's way through the router: prepare, scatter, merge, answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Final, TypeVar

from cdp.v1 import proof_pb2, query_pb2, shard_pb2

from cdp_query import tree
from cdp_query.bind.names import Names
from cdp_query.language.mistyped import never_matching
from cdp_query.language.suggest import nearest
from cdp_router.cluster.agreement import Attributes, agreeing_views, compare
from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import EVALUATE, LIST_MEMBERS, PROVE_USER, READ_PROFILE, READ_SCHEMA
from cdp_router.contract.arrow_streams import Pieces, with_arrow
from cdp_router.contract.partials import from_held_kinds, from_names, merged, to_names
from cdp_router.contract.values import from_timestamp
from cdp_router.deadline import Deadline
from cdp_router.errors import ProfileNotFound, RecordInvalid, RequestInvalid
from cdp_router.identity import profile_reference
from cdp_router.identity.identities import Identities
from cdp_router.limits import (
    MEMBER_RESPONSES_AHEAD,
    PROFILE_EVENTS_DEFAULT,
    PROFILE_EVENTS_MAX,
)
from cdp_router.questions.answers import Answering, answer
from cdp_router.questions.attribute_columns import check_names, columns_of
from cdp_router.questions.member_stream import MemberStream
from cdp_router.questions.person_records import People
from cdp_router.questions.question_reading import Asked, QuestionReader
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.rpc.call import note
from cdp_store.ids import encode_identifier
from cdp_store.outside.seams import Clock
from cdp_store.records.records import Strings
from cdp_store.values import to_ms

Result = TypeVar("Result")
_BY_PARTITION: Final = attrgetter("partition")
_FINISHED_AT_ONCE_BYTES: Final = 4096  # of question and partials: the answer takes less than handing it to a thread


class Queries:
    """Answers questions from the shards' contributions."""

    def __init__(self, routing: Routing, clock: Clock, segments: SharedSegments | None = None) -> None:
        self._routing, self._cluster, self._clock = routing, routing.cluster, clock
        self._reader = QuestionReader(segments or SharedSegments(routing))
        self._identities = Identities(routing)
        self.people = People(routing, self._identities)

    async def query(
        self,
        request: query_pb2.QueryRequest,
        deadline: Deadline,
        clock_ms: float,
        check: Callable[[tree.Question], None] | None = None,
    ) -> query_pb2.QueryResponse:
        """The answer to a question; fails when a partition is missing, unless allow_partial.

        `check` may refuse the question, in which named segments stand as they were written.
        """
        asked = await self._reader.asked(request, self._context(request), deadline)
        said, context, size = asked.said, asked.context, request.ByteSize()
        if check is not None:
            await self._reader.aside.run(size, deadline, partial(check, said.asked))
        message = shard_pb2.EvaluateRequest(
            question=said.plan,
            as_of_ms=context.as_of_ms,
            tz=context.tz,
            exclude_anonymous=not context.include_anonymous,
        )
        evaluations = await self._evaluated(message, deadline, allow_partial=request.allow_partial)
        whole, coverage = merged(evaluations), self._coverage(evaluations)
        missing = coverage.total - len(coverage.answered)
        warnings = await self._unknown_names(said.names, whole.known, deadline, request.strict, missing)
        mismatch = any(each.type_mismatch for each in whole.stats.values())
        mistyped = await self._mistyped(asked, deadline, strict=request.strict) if mismatch else []
        parts = Answering(
            asked,
            whole,
            coverage,
            warnings,
            mistyped,
            explain=request.explain,
            clock_ms=clock_ms,
            engine_ms=max((evaluation.engine_milliseconds for evaluation in evaluations), default=0.0),
        )
        read = size + sum(evaluation.ByteSize() for evaluation in evaluations)
        if read <= _FINISHED_AT_ONCE_BYTES and not request.explain:
            return answer(parts)
        # The answer repeats the question.
        return await self._reader.aside.finish(size, lambda: answer(parts))

    async def members(self, request: query_pb2.MembersRequest, deadline: Deadline) -> AsyncGenerator[Pieces, None]:
        """Encoded MembersResponses: members' identifiers as one Arrow stream, then the coverage."""
        context = self._context(request)
        check_names(request.attributes)
        asked = await self._reader.segment(request, context, deadline)
        message = shard_pb2.ListMembersRequest(
            segment=asked.said.plan.segment,
            as_of_ms=context.as_of_ms,
            tz=context.tz,
            exclude_anonymous=not context.include_anonymous,
        )
        if request.strict:
            known = await self._schema(deadline, is_whole=True)
            await self._unknown_names(asked.said.names, known, deadline, strict=True)
            await self._mistyped(asked, deadline, strict=True)
        note(plan_hash=asked.said.plan_hash)
        # What has been streamed cannot be taken back: views must agree before the first member is told.
        agreed = await agreeing_views(self._routing, deadline, Attributes(request.attributes, context.as_of_ms))
        message.views.CopyFrom(agreed.views)
        columns, unknown = columns_of(request.attributes, agreed.attributes)
        if unknown:
            missing = Names(attributes=frozenset(unknown))
            raise RequestInvalid("attributes", "; ".join(await self._told_unknown(missing, deadline)))
        message.attributes.extend(columns)
        async for response in self._stream_members(asked, message, deadline):
            yield response

    async def profile(self, request: query_pb2.GetProfileRequest, deadline: Deadline) -> query_pb2.GetProfileResponse:
        """One profile by identifier."""
        identifier, partition = self.located(request)
        events_max = request.events_max or PROFILE_EVENTS_DEFAULT
        if events_max > PROFILE_EVENTS_MAX:
            raise RequestInvalid("events_max", f"at most {PROFILE_EVENTS_MAX}")
        wanted = shard_pb2.ReadProfileRequest(identifier=identifier, partition=partition, events_max=events_max)
        profile = await self.read_profile(wanted, deadline)
        if request.with_origins:
            await self.people.add_origins(profile, deadline)
        return profile

    async def read_profile(
        self, message: shard_pb2.ReadProfileRequest, deadline: Deadline
    ) -> query_pb2.GetProfileResponse:
        """One profile, with the events that are wanted; ProfileNotFound where there is none."""
        identifier = message.identifier
        named, partition = await self._belonging(identifier, message.partition, deadline)
        message.identifier.CopyFrom(named)
        response = await self._routing.one(READ_PROFILE, message, deadline, partition)
        if not response.found:
            raise ProfileNotFound(identifier.kind, identifier.value)
        return response.profile

    async def explain_user(
        self,
        request: proof_pb2.ExplainUserRequest,
        deadline: Deadline,
        check: Callable[[tree.Question], None] = lambda _: None,
    ) -> proof_pb2.ExplainUserResponse:
        """Proof for one user in a segment, or not in it; `check` may refuse the question, segments written out."""
        context = self._context(request)
        identifier, partition = self.located(request)
        asked = await self._reader.segment(request, context, deadline, as_written=True)
        check(asked.said.question)
        identifier, partition = await self._belonging(identifier, partition, deadline)
        message = shard_pb2.ProveUserRequest(
            identifier=identifier,
            segment=asked.said.plan.segment,
            as_of_ms=context.as_of_ms,
            tz=context.tz,
            exclude_anonymous=not context.include_anonymous,
        )
        response = await self._routing.one(PROVE_USER, message, deadline, partition)
        if not response.found:
            raise ProfileNotFound(identifier.kind, identifier.value)
        return response.proof

    async def _belonging(
        self, identifier: query_pb2.Identifier, partition: int, deadline: Deadline
    ) -> tuple[query_pb2.Identifier, int]:
        """The identifier of the profile that one belongs to, and its partition."""
        named = identifier.kind, identifier.value
        profile = await self._identities.profile_of(named, deadline)
        if profile == named:
            return identifier, partition
        encoded = Strings.of([encode_identifier(*profile)])
        home = int(partitions_of(encoded, self._cluster.hash_key, self._cluster.partitions)[0])
        return query_pb2.Identifier(kind=profile[0], value=profile[1]), home

    def located(self, request: profile_reference.ProfileRequest, path: str = "") -> tuple[query_pb2.Identifier, int]:
        """The identifier a request names, and its partition; `path` leads to where it stands in the request."""
        kind, value = profile_reference.named(request, path)
        encoded = Strings.of([encode_identifier(kind, value)])
        partition = int(partitions_of(encoded, self._cluster.hash_key, self._cluster.partitions)[0])
        return query_pb2.Identifier(kind=kind, value=value), partition

    async def _stream_members(
        self, question: Asked, message: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[Pieces]:
        sink, mismatch, known = MemberStream(message.attributes), False, Names()
        is_told = True  # shards of an earlier version do not tell which names they know
        coverage = query_pb2.Coverage(total=self._cluster.partitions)
        async for response in self._routing.stream(LIST_MEMBERS, message, deadline, MEMBER_RESPONSES_AHEAD):
            coverage.answered.extend(response.answered)
            mismatch |= response.type_mismatch
            known = known.merge(from_names(response.known))
            is_told &= response.HasField("known") or not response.answered
            if response.arrow:
                sink.write(response.arrow)
                note(count=sink.count)
                yield with_arrow(query_pb2.MembersResponse(), sink.drain())
        coverage.answered.sort(key=_BY_PARTITION)
        warnings = []
        if is_told:
            warnings += await self._unknown_names(question.said.names, known, deadline, strict=False)
        if mismatch:
            warnings += await self._mistyped(question, deadline, strict=False)
        yield with_arrow(query_pb2.MembersResponse(coverage=coverage, warnings=warnings), [sink.finish()])

    def _context(
        self, request: query_pb2.QueryRequest | query_pb2.MembersRequest | proof_pb2.ExplainUserRequest
    ) -> tree.Context:
        as_of_ms = self._clock.now_ms()
        if request.HasField("as_of"):
            try:
                as_of_ms = to_ms(from_timestamp(request.as_of))
            except RecordInvalid as error:
                raise RequestInvalid("as_of", error.message) from error
        return tree.Context(as_of_ms, request.tz or "UTC", not request.exclude_anonymous)

    async def _unknown_names(
        self, asked: Names, known: Names, deadline: Deadline, strict: bool, missing: int = 0
    ) -> list[str]:
        """A warning for each name that none of the partitions that answered has seen; RequestInvalid where all did
        and this is an error. With some `missing` a name may be known to those."""
        unknown = Names(
            asked.events - known.events, asked.properties - known.properties, asked.attributes - known.attributes
        )
        warnings = await self._told_unknown(unknown, deadline) if unknown != Names() else []
        if strict and warnings and not missing:
            raise RequestInvalid("question", "; ".join(warnings))
        unsure = f" ({missing} of {self._cluster.partitions} partitions could not be asked)" if missing else ""
        return [warning + unsure for warning in warnings]

    async def _mistyped(self, asked: Asked, deadline: Deadline, *, strict: bool) -> list[str]:
        """A line for each comparison with values of which none has a type asked for; worth asking shards for where
        some value had another."""
        request = shard_pb2.ReadSchemaRequest(kinds_of=to_names(asked.said.names))
        gathered = await self._routing.everywhere(READ_SCHEMA, request, deadline)
        if gathered.failures:
            return []  # another shard may hold values of the type
        held = from_held_kinds(each for response in gathered.answers.values() for each in response.kinds)
        warnings = never_matching(asked.said.question, held, asked.context)
        if strict and warnings:
            raise RequestInvalid("question", "; ".join(warnings))
        return warnings

    async def _told_unknown(self, missing: Names, deadline: Deadline) -> list[str]:
        """A line for each name that was never seen, with those it may have been meant for."""
        schema = await self._schema(deadline)
        names = (
            ("event", missing.events, schema.events, frozenset[str](), ""),
            ("property", missing.properties, schema.properties, schema.attributes, "an attribute of profiles"),
            ("attribute", missing.attributes, schema.attributes, schema.properties, "a property of events"),
        )
        return [
            _unknown(what, name, sorted(have), other if name in others else "")
            for what, own, have, others, other in names
            for name in sorted(own)
        ]

    async def _schema(self, deadline: Deadline, *, is_whole: bool = False) -> Names:
        """Names seen by the shards that can be reached; the error that says which cannot where all are needed."""
        gathered = await self._routing.everywhere(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), deadline)
        whole = Names()
        for response in (self._routing.whole(gathered) if is_whole else gathered.answers).values():
            whole = whole.merge(from_names(response.names))
        return whole

    async def _evaluated(
        self, message: shard_pb2.EvaluateRequest, deadline: Deadline, *, allow_partial: bool
    ) -> Sequence[shard_pb2.EvaluateResponse]:
        """Contributions of shards, each for other partitions; profiles that move meanwhile count once."""
        evaluations = await self._evaluated_once(message, None, deadline, allow_partial=allow_partial)
        moving = [each for evaluation in evaluations for each in evaluation.transfers]
        if moving and compare(moving):
            agreed = await agreeing_views(self._routing, deadline, allow_partial=allow_partial)
            message.views.CopyFrom(agreed.views)
            evaluations = await self._evaluated_once(message, agreed.partitions, deadline, allow_partial=allow_partial)
        return evaluations

    async def _evaluated_once(
        self,
        message: shard_pb2.EvaluateRequest,
        partitions: Iterable[int] | None,
        deadline: Deadline,
        *,
        allow_partial: bool,
    ) -> Sequence[shard_pb2.EvaluateResponse]:
        found = await self._routing.gather(EVALUATE, message, deadline, partitions)
        if found.failures and not (allow_partial and found.answers):
            raise self._routing.error(found)
        return found.answers

    def _coverage(self, evaluations: Sequence[shard_pb2.EvaluateResponse]) -> query_pb2.Coverage:
        answered = [position for evaluation in evaluations for position in evaluation.answered]
        answered.sort(key=_BY_PARTITION)
        return query_pb2.Coverage(total=self._cluster.partitions, answered=answered)


def _unknown(what: str, name: str, candidates: Sequence[str], other: str) -> str:
    close = nearest(name, candidates)
    if other:
        return f"no {what} named {name!r} has been seen; there is {other} of that name"
    if what == "event" and name in ("*", "%"):
        return f"no event named {name!r} has been seen; a question names its events, and * is no name for all of them"
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"no {what} named {name!r} has been seen{hint}"
