"""The methods of a shard: the one table that clients, handlers and gRPC services are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from cdp.v1 import moving_pb2, partition_pb2, shard_pb2
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

from cdp_router.contract.partition_claims import PartitionClaim, to_epochs

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_SHARD: Final = "cdp.v1.ShardService"
_PARTITION: Final = "cdp.v1.PartitionService"


class _OfCluster(Protocol):
    cluster: str


class _OfPartition(Protocol):
    cluster: str
    partition: int
    epoch: int


class _OfPartitions(Protocol):
    cluster: str

    @property
    def partitions(self) -> RepeatedCompositeFieldContainer[partition_pb2.PartitionEpoch]: ...


def of_cluster(request: _OfCluster, cluster: str, _: Sequence[PartitionClaim]) -> None:
    """Addresses a request to a cluster; its maker has set the claims."""
    request.cluster = cluster


def of_partition(request: _OfPartition, cluster: str, claims: Sequence[PartitionClaim]) -> None:
    """Address a request to the one partition of the claims."""
    [claim] = claims
    request.cluster, request.partition, request.epoch = cluster, claim.partition, claim.epoch


def of_partitions(request: _OfPartitions, cluster: str, claims: Sequence[PartitionClaim]) -> None:
    """Address a request to all partitions of the claims."""
    request.cluster = cluster
    request.partitions.extend(to_epochs(claims))


def _of_shard(request: Message, cluster: str, claims: Sequence[PartitionClaim]) -> None:
    """Leaves a request unchanged: it is about the shard as such, or names one partition itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Method(Generic[Request, Response]):
    """A method of a shard, and the way a request states the claims of partitions that it relies on."""

    name: str
    request: type[Request]
    response: type[Response]
    address: Callable[[Request, str, Sequence[PartitionClaim]], None] = _of_shard
    service: str = _SHARD

    @property
    def path(self) -> str:
        """The method's full name in gRPC: /service/name."""
        return f"/{self.service}/{self.name}"


class UnaryMethod(Method[Request, Response]):
    """A method with one response."""


class StreamMethod(Method[Request, Response]):
    """A method with a stream of responses."""


DELIVER: Final = UnaryMethod("Deliver", shard_pb2.DeliverRequest, shard_pb2.DeliverResponse, of_cluster)
EVALUATE: Final = UnaryMethod("Evaluate", shard_pb2.EvaluateRequest, shard_pb2.EvaluateResponse, of_partitions)
LIST_MEMBERS: Final = StreamMethod(
    "ListMembers", shard_pb2.ListMembersRequest, shard_pb2.ListMembersResponse, of_partitions
)
READ_PROFILE: Final = UnaryMethod(
    "ReadProfile", shard_pb2.ReadProfileRequest, shard_pb2.ReadProfileResponse, of_partition
)
PROVE_USER: Final = UnaryMethod("ProveUser", shard_pb2.ProveUserRequest, shard_pb2.ProveUserResponse, of_partition)
READ_STATUS: Final = UnaryMethod("ReadStatus", shard_pb2.ReadStatusRequest, shard_pb2.ReadStatusResponse)
READ_SCHEMA: Final = UnaryMethod("ReadSchema", shard_pb2.ReadSchemaRequest, shard_pb2.ReadSchemaResponse)
ERASE_PROFILES: Final = UnaryMethod(
    "EraseProfiles", shard_pb2.EraseProfilesRequest, shard_pb2.EraseProfilesResponse, of_partition
)
CHANGE_RETENTION: Final = UnaryMethod(
    "ChangeRetention", shard_pb2.ChangeRetentionRequest, shard_pb2.ChangeRetentionResponse, of_partitions
)
READ_DIGEST: Final = UnaryMethod("ReadDigest", shard_pb2.ReadDigestRequest, shard_pb2.ReadDigestResponse, of_partitions)
TAKE_SNAPSHOT: Final = UnaryMethod("TakeSnapshot", shard_pb2.TakeSnapshotRequest, shard_pb2.TakeSnapshotResponse)
PURGE_FILES: Final = UnaryMethod("PurgeFiles", shard_pb2.PurgeFilesRequest, shard_pb2.PurgeFilesResponse)
CAPTURE_VIEWS: Final = UnaryMethod(
    "CaptureViews", moving_pb2.CaptureViewsRequest, moving_pb2.CaptureViewsResponse, of_partitions
)
CHANGE_IDENTITY: Final = UnaryMethod(
    "ChangeIdentity", moving_pb2.ChangeIdentityRequest, moving_pb2.ChangeIdentityResponse, of_partition
)
READ_IDENTITY: Final = UnaryMethod(
    "ReadIdentity", moving_pb2.ReadIdentityRequest, moving_pb2.ReadIdentityResponse, of_partition
)
READ_IDENTITIES: Final = UnaryMethod(
    "ReadIdentities", moving_pb2.ReadIdentitiesRequest, moving_pb2.ReadIdentitiesResponse, of_partitions
)
DISCOVER_NAMES: Final = UnaryMethod(
    "DiscoverNames", shard_pb2.DiscoverNamesRequest, shard_pb2.DiscoverNamesResponse, of_partitions
)
CHANGE_QUARANTINE: Final = UnaryMethod(
    "ChangeQuarantine", shard_pb2.ChangeQuarantineRequest, shard_pb2.ChangeQuarantineResponse, of_partition
)
READ_QUARANTINE: Final = UnaryMethod(
    "ReadQuarantine", shard_pb2.ReadQuarantineRequest, shard_pb2.ReadQuarantineResponse, of_partition
)
CHANGE_SUPPRESSIONS: Final = UnaryMethod(
    "ChangeSuppressions", shard_pb2.ChangeSuppressionsRequest, shard_pb2.ChangeSuppressionsResponse, of_partitions
)
SCAN_FOR_IDENTIFIERS: Final = UnaryMethod(
    "ScanForIdentifiers", shard_pb2.ScanForIdentifiersRequest, shard_pb2.ScanForIdentifiersResponse
)
READ_RECORDS: Final = UnaryMethod(
    "ReadRecords", shard_pb2.ReadRecordsRequest, shard_pb2.ReadRecordsResponse, of_partition
)
READ_ALL: Final = StreamMethod("ReadAll", shard_pb2.ReadAllRequest, shard_pb2.ReadAllResponse, of_partitions)
READ_RECEIPTS: Final = UnaryMethod(
    "ReadReceipts", shard_pb2.ReadReceiptsRequest, shard_pb2.ReadReceiptsResponse, of_partition
)
VERIFY_SNAPSHOTS: Final = UnaryMethod(
    "VerifySnapshots", shard_pb2.ShardServiceVerifySnapshotsRequest, shard_pb2.ShardServiceVerifySnapshotsResponse
)
READ_DOCUMENT: Final = UnaryMethod(
    "ReadDocument", shard_pb2.ReadDocumentRequest, shard_pb2.ReadDocumentResponse, of_partition
)
WRITE_DOCUMENT: Final = UnaryMethod(
    "WriteDocument", shard_pb2.WriteDocumentRequest, shard_pb2.WriteDocumentResponse, of_partition
)


def _of_move(name: str, request: type[Request], response: type[Response]) -> UnaryMethod[Request, Response]:
    """A shard's part in moves of partitions; its failures are grpc.RpcError, and each call may be repeated."""
    return UnaryMethod(name, request, response, service=_PARTITION)


READ_HOLDINGS: Final = _of_move("ReadHoldings", partition_pb2.ReadHoldingsRequest, partition_pb2.ReadHoldingsResponse)
TAKE_PARTITION: Final = _of_move(
    "TakePartition", partition_pb2.TakePartitionRequest, partition_pb2.TakePartitionResponse
)
STOP_TAKING: Final = _of_move("StopTaking", partition_pb2.StopTakingRequest, partition_pb2.StopTakingResponse)
EXPORT_PARTITION: Final = _of_move(
    "ExportPartition", partition_pb2.ExportPartitionRequest, partition_pb2.ExportPartitionResponse
)
READ_EXPORT: Final = _of_move("ReadExport", partition_pb2.ReadExportRequest, partition_pb2.ReadExportResponse)
READ_TAIL: Final = _of_move("ReadTail", partition_pb2.ReadTailRequest, partition_pb2.ReadTailResponse)
RELEASE_PARTITION: Final = _of_move(
    "ReleasePartition", partition_pb2.ReleasePartitionRequest, partition_pb2.ReleasePartitionResponse
)
FORGET_PARTITION: Final = _of_move(
    "ForgetPartition", partition_pb2.ForgetPartitionRequest, partition_pb2.ForgetPartitionResponse
)

METHODS: Final[Sequence[Method[Any, Any]]] = (
    DELIVER,
    EVALUATE,
    LIST_MEMBERS,
    READ_PROFILE,
    PROVE_USER,
    READ_STATUS,
    READ_SCHEMA,
    ERASE_PROFILES,
    CHANGE_RETENTION,
    READ_DIGEST,
    TAKE_SNAPSHOT,
    PURGE_FILES,
    CAPTURE_VIEWS,
    CHANGE_IDENTITY,
    READ_IDENTITY,
    READ_IDENTITIES,
    DISCOVER_NAMES,
    CHANGE_QUARANTINE,
    READ_QUARANTINE,
    CHANGE_SUPPRESSIONS,
    SCAN_FOR_IDENTIFIERS,
    READ_RECORDS,
    READ_ALL,
    READ_RECEIPTS,
    VERIFY_SNAPSHOTS,
    READ_DOCUMENT,
    WRITE_DOCUMENT,
    READ_HOLDINGS,
    TAKE_PARTITION,
    STOP_TAKING,
    EXPORT_PARTITION,
    READ_EXPORT,
    READ_TAIL,
    RELEASE_PARTITION,
    FORGET_PARTITION,
)
SHARD_SERVICES: Final = (_SHARD, _PARTITION)
