"""Methods that both clients share, each as the call to a router."""

from __future__ import annotations

from collections.abc import Sequence

from cdp.v1 import (
    admin_pb2,
    export_pb2,
    ingest_pb2,
    named_segment_pb2,
    privacy_pb2,
    profile_pb2,
    query_pb2,
)

from cdp_router.client.calls import Again, Call, Page, StreamCall, call, plain, stream
from cdp_router.client.results import Event, Profile


def ingest(batch: ingest_pb2.Batch) -> Call[ingest_pb2.BatchResult]:
    """Makes a batch durable."""
    request = ingest_pb2.IngestRequest(batch=batch)
    return call(lambda router: router.ingest.Ingest, request, lambda found: found.result, Again.WHILE_AWAY)


def query(request: query_pb2.QueryRequest) -> Call[query_pb2.QueryResponse]:
    """Asks a question."""
    return call(lambda router: router.query.Query, request, lambda found: found, Again.WHILE_BUSY)


def members(request: query_pb2.MembersRequest) -> StreamCall[query_pb2.MembersResponse]:
    """Streams a segment's members."""
    return stream(lambda router: router.query.Members, request)


def find_profiles(names: Sequence[profile_pb2.ProfileName], events_max: int) -> Call[list[Profile | None]]:
    """Reads up to 100 profiles, in the requested order."""

    def read(found: profile_pb2.BatchGetProfilesResponse) -> list[Profile | None]:
        return [Profile.from_message(each.profile) if each.HasField("profile") else None for each in found.results]

    request = profile_pb2.BatchGetProfilesRequest(names=names, events_max=events_max)
    return call(lambda router: router.profiles.BatchGetProfiles, request, read)


def timeline(
    name: profile_pb2.ProfileName, event_names: Sequence[str], page_size: int, page_token: str = ""
) -> Call[Page[Event]]:
    """Reads a page of a profile's events, latest first."""

    def read(found: profile_pb2.ListProfileEventsResponse) -> Page[Event]:
        token = found.next_page_token
        after = timeline(name, event_names, page_size, token) if token else None
        return Page([Event.from_message(each) for each in found.events], after)

    request = profile_pb2.ListProfileEventsRequest(
        name=name, event_names=event_names, page_size=page_size, page_token=page_token
    )
    return call(lambda router: router.profiles.ListProfileEvents, request, read)


def export_profile(name: profile_pb2.ProfileName) -> StreamCall[profile_pb2.ExportProfileResponse]:
    """Streams everything that is kept about a person."""
    return stream(lambda router: router.profiles.ExportProfile, profile_pb2.ExportProfileRequest(name=name))


def export_records() -> StreamCall[export_pb2.ExportRecordsResponse]:
    """Streams everything that the cluster holds."""
    return stream(lambda router: router.export.ExportRecords, export_pb2.ExportRecordsRequest())


def check() -> Call[None]:
    """Checks that a router answers."""
    return Call(lambda router, seconds: router.health(b"", timeout=seconds), lambda _: None)


def status() -> Call[admin_pb2.GetStatusResponse]:
    """Reads the cluster's status."""
    return plain(lambda router: router.admin.GetStatus, admin_pb2.GetStatusRequest())


def schema() -> Call[admin_pb2.GetSchemaResponse]:
    """Reads the names that the cluster has seen."""
    return plain(lambda router: router.admin.GetSchema, admin_pb2.GetSchemaRequest())


def create_segment(request: named_segment_pb2.CreateSegmentRequest) -> Call[named_segment_pb2.NamedSegment]:
    """Creates a named segment, or its next version."""
    return call(lambda router: router.segments.CreateSegment, request, lambda found: found.segment)


def segment(name: str, version: int | None) -> Call[named_segment_pb2.NamedSegment]:
    """Reads a version of a named segment, by default the newest."""
    request = named_segment_pb2.GetSegmentRequest(name=name, version=version or 0)
    return call(lambda router: router.segments.GetSegment, request, lambda found: found.segment)


def segments() -> Call[named_segment_pb2.ListSegmentsResponse]:
    """Lists the newest versions of named segments."""
    return plain(lambda router: router.segments.ListSegments, named_segment_pb2.ListSegmentsRequest())


def delete_segment(name: str) -> Call[int]:
    """Deletes a named segment; the result is the number of its versions."""
    request = named_segment_pb2.DeleteSegmentRequest(name=name)
    return call(lambda router: router.segments.DeleteSegment, request, lambda found: found.versions)


def erase(request: admin_pb2.EraseProfileRequest) -> Call[admin_pb2.EraseProfileResponse]:
    """Erases a person for good."""
    return plain(lambda router: router.admin.EraseProfile, request)


def purge() -> Call[admin_pb2.PurgeErasedResponse]:
    """Removes the remains of erased profiles from the files of every shard."""
    return plain(lambda router: router.admin.PurgeErased, admin_pb2.PurgeErasedRequest())


def privacy() -> Call[privacy_pb2.Privacy]:
    """Reads what keys without profile-read may not see."""
    request = privacy_pb2.GetPrivacyRequest()
    return call(lambda router: router.privacy.GetPrivacy, request, lambda found: found.privacy)


def change_privacy(request: privacy_pb2.ChangePrivacyRequest) -> Call[privacy_pb2.Privacy]:
    """Changes what keys without profile-read may not see."""
    return call(lambda router: router.privacy.ChangePrivacy, request, lambda found: found.privacy)


def retention() -> Call[admin_pb2.GetRetentionResponse]:
    """Reads how long events are kept."""
    return plain(lambda router: router.admin.GetRetention, admin_pb2.GetRetentionRequest())


def set_retention(rule: admin_pb2.RetentionRule) -> Call[admin_pb2.SetRetentionResponse]:
    """Changes how long events are kept."""
    return plain(lambda router: router.admin.SetRetention, admin_pb2.SetRetentionRequest(rule=rule))


def digest() -> Call[admin_pb2.GetDigestResponse]:
    """Reads the digest of all data."""
    return plain(lambda router: router.admin.GetDigest, admin_pb2.GetDigestRequest())


def snapshot(destination: str) -> Call[admin_pb2.CreateSnapshotResponse]:
    """Makes every shard write a snapshot."""
    request = admin_pb2.CreateSnapshotRequest(destination=destination)
    return plain(lambda router: router.admin.CreateSnapshot, request)


def verify() -> Call[admin_pb2.VerifySnapshotsResponse]:
    """Makes every shard check the files of its snapshots."""
    return plain(lambda router: router.admin.VerifySnapshots, admin_pb2.VerifySnapshotsRequest())
