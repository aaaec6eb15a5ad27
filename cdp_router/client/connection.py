"""Client of a cluster's router: its calls, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from cdp.v1 import (
    admin_pb2,
    export_pb2,
    identity_pb2,
    ingest_pb2,
    named_segment_pb2,
    privacy_pb2,
    profile_pb2,
    proof_pb2,
    query_pb2,
    schema_pb2,
)

from cdp_router.client import methods
from cdp_router.client.asking import Asked, MembersOptions, QueryOptions, members_request, profile_name, query_request
from cdp_router.client.blocking import Connection
from cdp_router.client.calls import plain
from cdp_router.client.failures import told_count
from cdp_router.client.results import Answer, Event, MemberBatches, Members, Profile


class Client(Connection):
    """A synchronous client of one router, safe to use from several threads.

    Without `api_key` and `tls`, those of the environment are used: CDP_API_KEY; CDP_TLS_CA, CDP_TLS_CERT, CDP_TLS_KEY.
    """

    def ingest(
        self, batch: ingest_pb2.Batch, timeout_seconds: float = 60.0, give_up_seconds: float = 60.0
    ) -> ingest_pb2.BatchResult:
        """Makes a batch durable.

        Sends it again while the cluster is away, up to `give_up_seconds`. Its batch_id keeps records from being
        accepted twice.
        """
        return self._call(methods.ingest(batch), timeout_seconds, give_up_seconds)

    def query(self, request: query_pb2.QueryRequest, timeout_seconds: float = 30.0) -> query_pb2.QueryResponse:
        """Asks a question, with retries while the cluster is busy, within one time limit."""
        return self._call(methods.query(request), timeout_seconds)

    def call(
        self, question: Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]
    ) -> query_pb2.QueryResponse:
        """Asks a question built with cdp_router.client.questions; `options` are fields of QueryRequest."""
        return self.query(query_request(question, **options), timeout_seconds)

    def members(
        self, request: query_pb2.MembersRequest, timeout_seconds: float = 300.0
    ) -> Iterator[query_pb2.MembersResponse]:
        """Streams a segment's members."""
        return self._stream(methods.members(request), timeout_seconds)

    def answer(self, question: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]) -> Answer:
        """The typed answer to a question; `options` are fields of QueryRequest, such as tz, by, allow_partial."""
        return Answer.from_response(self.query(query_request(question, **options), timeout_seconds))

    def count(self, segment: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]) -> int:
        """Counts the profiles in a segment.

        Raises RequestFailed with the reason COUNT_WITHHELD where the key may not see the count: there are too few users
        in the segment, or too few outside it.
        """
        return told_count(self.answer(segment, timeout_seconds, **options))

    def list_members(
        self, segment: str | Asked, timeout_seconds: float = 300.0, **options: Unpack[MembersOptions]
    ) -> Members:
        """The members of a segment, for Arrow, pandas or Polars; `options` are fields of MembersRequest.

        They include `as_of`, and `attributes`, which become columns.
        """
        return Members.from_responses(self.members(members_request(segment, **options), timeout_seconds))

    def stream_members(
        self, segment: str | Asked, timeout_seconds: float = 3600.0, **options: Unpack[MembersOptions]
    ) -> MemberBatches:
        """The members of a segment in batches, for lists too long for memory; `options` as for list_members."""
        return MemberBatches(self.members(members_request(segment, **options), timeout_seconds))

    def find_profile(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        events_max: int = 0,
        timeout_seconds: float = 30.0,
    ) -> Profile | None:
        """One profile with its latest events (0: none), or None if there is none."""
        return self.find_profiles([profile_name(user_id, anonymous_id)], events_max, timeout_seconds)[0]

    def find_profiles(
        self, names: Sequence[profile_pb2.ProfileName], events_max: int = 0, timeout_seconds: float = 30.0
    ) -> list[Profile | None]:
        """Up to 100 profiles at once, in the requested order."""
        return self._call(methods.find_profiles(names, events_max), timeout_seconds)

    def timeline(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        event_names: Sequence[str] = (),
        page_size: int = 1000,
        timeout_seconds: float = 30.0,
    ) -> Iterator[Event]:
        """All events of a profile, latest first, fetched page by page."""
        name = profile_name(user_id, anonymous_id)
        yield from self._items(methods.timeline(name, event_names, page_size), timeout_seconds)

    def export_profile(
        self, name: profile_pb2.ProfileName, timeout_seconds: float = 3600.0
    ) -> Iterator[profile_pb2.ExportProfileResponse]:
        """Everything that is kept about a person, in pieces; cdp_router.client.exporting writes files of it."""
        return self._stream(methods.export_profile(name), timeout_seconds)

    def export_records(self, timeout_seconds: float = 3600.0) -> Iterator[export_pb2.ExportRecordsResponse]:
        """Everything the cluster holds; cdp_router.client.export_files writes files of it."""
        return self._stream(methods.export_records(), timeout_seconds)

    def profile(
        self, request: query_pb2.GetProfileRequest, timeout_seconds: float = 30.0
    ) -> query_pb2.GetProfileResponse:
        """Reads one profile."""
        return self._call(plain(lambda router: router.query.GetProfile, request), timeout_seconds)

    def explain_user(
        self, request: proof_pb2.ExplainUserRequest, timeout_seconds: float = 30.0
    ) -> proof_pb2.ExplainUserResponse:
        """Explains for one user whether it is in a segment: the verdict, and for each part what decided it."""
        return self._call(plain(lambda router: router.proofs.ExplainUser, request), timeout_seconds)

    def explain_identity(
        self, identifier: query_pb2.Identifier, timeout_seconds: float = 30.0
    ) -> identity_pb2.ExplainIdentityResponse:
        """Reads the profile that an identifier belongs to, and the messages that linked its identifiers."""
        request = identity_pb2.ExplainIdentityRequest(identifier=identifier)
        return self._call(plain(lambda router: router.identity.ExplainIdentity, request), timeout_seconds)

    def unlink(self, request: identity_pb2.UnlinkIdentifierRequest, timeout_seconds: float = 60.0) -> bool:
        """Separates two identifiers for good; False if they were separate already."""
        return self._call(plain(lambda router: router.identity.UnlinkIdentifier, request), timeout_seconds).changed

    def create_segment(
        self, request: named_segment_pb2.CreateSegmentRequest, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Creates a named segment, or its next version."""
        return self._call(methods.create_segment(request), timeout_seconds)

    def segment(
        self, name: str, version: int | None = None, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Reads a version of a named segment, by default the newest."""
        return self._call(methods.segment(name, version), timeout_seconds)

    def segments(self, timeout_seconds: float = 30.0) -> named_segment_pb2.ListSegmentsResponse:
        """Lists the newest versions of named segments."""
        return self._call(methods.segments(), timeout_seconds)

    def delete_segment(self, name: str, timeout_seconds: float = 30.0) -> int:
        """Deletes a named segment; returns the number of its versions."""
        return self._call(methods.delete_segment(name), timeout_seconds)

    def check(self, timeout_seconds: float = 10.0) -> None:
        """Checks that a router answers, which needs no key."""
        self._call(methods.check(), timeout_seconds)

    def status(self, timeout_seconds: float = 10.0) -> admin_pb2.GetStatusResponse:
        """Reads the cluster's status."""
        return self._call(methods.status(), timeout_seconds)

    def schema(self, timeout_seconds: float = 10.0) -> admin_pb2.GetSchemaResponse:
        """Reads the names that the cluster has seen."""
        return self._call(methods.schema(), timeout_seconds)

    def schema_rules(self, timeout_seconds: float = 30.0) -> schema_pb2.SchemaRules:
        """Reads the rules that records are checked against."""
        request = schema_pb2.GetSchemaRulesRequest()
        return self._call(plain(lambda router: router.schema.GetSchemaRules, request), timeout_seconds).rules

    def set_schema_rules(self, rules: schema_pb2.SchemaRules, timeout_seconds: float = 30.0) -> schema_pb2.SchemaRules:
        """Replaces the rules that records are checked against."""
        request = schema_pb2.SetSchemaRulesRequest(rules=rules)
        return self._call(plain(lambda router: router.schema.SetSchemaRules, request), timeout_seconds).rules

    def discover_schema(self, timeout_seconds: float = 3600.0) -> schema_pb2.DiscoverSchemaResponse:
        """Reads the events and attributes that the cluster has seen: names, types, counts, first and last times."""
        request = schema_pb2.DiscoverSchemaRequest()
        return self._call(plain(lambda router: router.schema.DiscoverSchema, request), timeout_seconds)

    def quarantined(
        self, page_size: int = 0, timeout_seconds: float = 30.0
    ) -> Iterator[schema_pb2.ListQuarantinedResponse]:
        """Records in quarantine, page by page."""
        request = schema_pb2.ListQuarantinedRequest(page_size=page_size)
        while True:
            page = self._call(plain(lambda router: router.schema.ListQuarantined, request), timeout_seconds)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def redrive_quarantined(
        self, event: str | None = None, timeout_seconds: float = 3600.0
    ) -> schema_pb2.RedriveQuarantinedResponse:
        """Accepts the quarantined records that no longer break a rule, optionally only events of one name."""
        request = schema_pb2.RedriveQuarantinedRequest(event=event)
        return self._call(plain(lambda router: router.schema.RedriveQuarantined, request), timeout_seconds)

    def forget_events(
        self, events: Sequence[str], *, unused: bool = False, timeout_seconds: float = 3600.0
    ) -> list[str]:
        """Drops all events of some names for good; returns the names that existed.

        With `unused`, names without events are freed too.
        """
        request = schema_pb2.ForgetEventsRequest(events=events, unused=unused)
        return list(self._call(plain(lambda router: router.schema.ForgetEvents, request), timeout_seconds).events)

    def drop_quarantined(self, event: str | None = None, timeout_seconds: float = 3600.0) -> int:
        """Drops quarantined records, optionally only events of one name; returns their number."""
        request = schema_pb2.DropQuarantinedRequest(event=event)
        return self._call(plain(lambda router: router.schema.DropQuarantined, request), timeout_seconds).dropped

    def erase(
        self, request: admin_pb2.EraseProfileRequest, timeout_seconds: float | None = None
    ) -> admin_pb2.EraseProfileResponse:
        """Erases a person for good, with a receipt; repeating it has no effect.

        With `purge` it may take as long as reading and rewriting everything.
        """
        seconds = timeout_seconds or (3600.0 if request.purge else 30.0)
        return self._call(methods.erase(request), seconds)

    def suppressions(self, timeout_seconds: float = 30.0) -> list[admin_pb2.SuppressedIdentifier]:
        """Identifiers of erased people whose records are refused, by their keyed hashes."""
        request = admin_pb2.ListSuppressionsRequest()
        found = self._call(plain(lambda router: router.admin.ListSuppressions, request), timeout_seconds)
        return list(found.suppressed)

    def lift_suppression(self, request: admin_pb2.LiftSuppressionRequest, timeout_seconds: float = 30.0) -> bool:
        """Accepts records under an identifier again; False if it was not suppressed."""
        return self._call(plain(lambda router: router.admin.LiftSuppression, request), timeout_seconds).lifted

    def purge(self, timeout_seconds: float = 3600.0) -> admin_pb2.PurgeErasedResponse:
        """Removes the remains of erased profiles from the files of every shard, and waits for it."""
        return self._call(methods.purge(), timeout_seconds)

    def privacy(self, timeout_seconds: float = 30.0) -> privacy_pb2.Privacy:
        """Reads what keys without profile-read may not see: names marked personal, and counts below a minimum."""
        return self._call(methods.privacy(), timeout_seconds)

    def change_privacy(
        self, request: privacy_pb2.ChangePrivacyRequest, timeout_seconds: float = 30.0
    ) -> privacy_pb2.Privacy:
        """Changes what keys without profile-read may not see."""
        return self._call(methods.change_privacy(request), timeout_seconds)

    def retention(self, timeout_seconds: float = 30.0) -> admin_pb2.GetRetentionResponse:
        """Reads how long events are kept."""
        return self._call(methods.retention(), timeout_seconds)

    def set_retention(
        self, rule: admin_pb2.RetentionRule, timeout_seconds: float = 60.0
    ) -> admin_pb2.SetRetentionResponse:
        """Changes how long events are kept; older ones are dropped for good."""
        return self._call(methods.set_retention(rule), timeout_seconds)

    def placements(self, timeout_seconds: float = 10.0) -> admin_pb2.ListPlacementsResponse:
        """Lists the shard of each partition, the progress of moves, and the shards that did not answer."""
        request = admin_pb2.ListPlacementsRequest()
        return self._call(plain(lambda router: router.admin.ListPlacements, request), timeout_seconds)

    def move(self, partition: int, shard: int, timeout_seconds: float = 30.0) -> admin_pb2.PartitionMove:
        """Begins to move a partition to a shard."""
        request = admin_pb2.MovePartitionRequest(partition=partition, shard=shard)
        return self._call(plain(lambda router: router.admin.MovePartition, request), timeout_seconds).move

    def drain(self, shard: int, timeout_seconds: float = 30.0) -> admin_pb2.DrainShardResponse:
        """Begins to move all partitions of a shard to others."""
        request = admin_pb2.DrainShardRequest(shard=shard)
        return self._call(plain(lambda router: router.admin.DrainShard, request), timeout_seconds)

    def stop_move(self, partition: int, timeout_seconds: float = 30.0) -> bool:
        """Stops the move of a partition; False if it is too late, or none is in progress."""
        request = admin_pb2.StopMoveRequest(partition=partition)
        return self._call(plain(lambda router: router.admin.StopMove, request), timeout_seconds).stopped

    def digest(self, timeout_seconds: float = 3600.0) -> admin_pb2.GetDigestResponse:
        """Reads the digest of all data."""
        return self._call(methods.digest(), timeout_seconds)

    def snapshot(self, destination: str = "", timeout_seconds: float = 3600.0) -> admin_pb2.CreateSnapshotResponse:
        """Makes every shard write a snapshot, and copy it to a path or URI if one is given; waits for it."""
        return self._call(methods.snapshot(destination), timeout_seconds)

    def verify(self, timeout_seconds: float = 3600.0) -> admin_pb2.VerifySnapshotsResponse:
        """Makes every shard check the files of its snapshots."""
        return self._call(methods.verify(), timeout_seconds)
