"""SegmentService."""

from __future__ import annotations

import asyncio

from cdp.v1 import named_segment_pb2 as pb
from cdp.v1 import named_segment_pb2_grpc as pb_grpc

from cdp_query import pipeline, tree
from cdp_query.language import print_question
from cdp_query.language.cql import read_cql
from cdp_router.contract.question_codec import from_segment, to_segment
from cdp_router.contract.status import Context
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline
from cdp_router.errors import RequestInvalid
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.questions.named_segments import Version
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.security.privacy.discretion import Discretion
from cdp_store.outside.seams import Clock


class SegmentService(pb_grpc.SegmentServiceServicer):
    """Serves named segments."""

    def __init__(self, segments: SharedSegments, clock: Clock, discretion: Discretion) -> None:
        self._segments, self._clock, self._discretion = segments, clock, discretion

    async def CreateSegment(self, request: pb.CreateSegmentRequest, context: Context) -> pb.CreateSegmentResponse:
        """Creates a segment or a version of one."""
        segment = await asyncio.to_thread(_definition, request)
        now_ms = self._clock.now_ms()
        made = await self._segments.change(
            lambda known: known.create(request.name, segment, request.description, now_ms), _deadline(context)
        )
        return pb.CreateSegmentResponse(segment=_to_message(made))

    async def GetSegment(self, request: pb.GetSegmentRequest, context: Context) -> pb.GetSegmentResponse:
        """Returns one version."""
        deadline = _deadline(context)
        found = (await self._segments.newest(deadline)).get(request.name, request.version or None)
        return pb.GetSegmentResponse(segment=(await self._discretion.segments([_to_message(found)], deadline))[0])

    async def ListSegments(self, request: pb.ListSegmentsRequest, context: Context) -> pb.ListSegmentsResponse:
        """Lists the newest versions."""
        deadline = _deadline(context)
        found = [_to_message(version) for version in (await self._segments.newest(deadline)).newest()]
        return pb.ListSegmentsResponse(segments=await self._discretion.segments(found, deadline))

    async def DeleteSegment(self, request: pb.DeleteSegmentRequest, context: Context) -> pb.DeleteSegmentResponse:
        """Deletes a segment."""
        versions = await self._segments.change(lambda known: known.delete(request.name), _deadline(context))
        return pb.DeleteSegmentResponse(versions=versions)


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()


def _definition(request: pb.CreateSegmentRequest) -> tree.Node:
    if request.WhichOneof("definition") == "segment":
        return from_segment(request.segment)
    if request.WhichOneof("definition") == "cql":
        return read_cql(request.cql)
    if not request.text:
        raise RequestInvalid("definition", "a text or a segment must be given")
    return pipeline.segment_of(pipeline.read(request.text, None))


def _to_message(version: Version) -> pb.NamedSegment:
    definition = version.definition
    return pb.NamedSegment(
        name=definition.name,
        version=definition.version,
        segment=to_segment(definition.segment),
        text=print_question(definition.segment),
        description=version.description,
        created=to_timestamp(version.created_ms),
    )
