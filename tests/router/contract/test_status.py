"""Every error of ours becomes one gRPC status that says which, and nothing else leaks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cdp_query.errors import QueryCancelled, QueryError, QueryInvalid, QuerySyntaxError, QueryTooLarge
from cdp_router import errors
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.contract.status import DOMAIN, abort, describe, grpc_code, retry_delay_ms, status_of
from cdp_store import errors as store_errors
from tests.router.fake_shards import call_error

EXAMPLES: tuple[Exception, ...] = (
    errors.RequestInvalid("batch.rows", "too large"),
    errors.RequestTooLarge("batch.arrow_columns", "stands for 3 values; the limit is 2"),
    errors.ProfileNotFound("user_id", "ann"),
    errors.WrongCluster("theirs", "ours"),
    errors.SegmentNotFound("vip"),
    errors.SegmentInUse("vip", ["gold"]),
    errors.SegmentsChanged(),
    errors.SchemaChanged(),
    errors.PersonChanged(),
    errors.ErasuresChanged(),
    errors.RestoreRefused("s3://bucket/cdp"),
    errors.WrongEpoch([PartitionClaim(3, 7, 1)]),
    errors.MoveRefused("partition 3 lives on shard 1 already"),
    errors.ShardUnavailable(["shard 1 cannot be reached"], [1, 3]),
    errors.ViewsLost(b"token"),
    errors.ShuttingDown(),
    errors.DeadlineMissed("shard 1 did not answer in time"),
    errors.Overloaded("much is in flight", 250),
    errors.Unauthenticated("KEY_MISSING", "an API key is needed"),
    errors.RoleMissing("QueryService/Query", "query", "0951ffb3958c"),
    errors.RateLimited("0951ffb3958c", "5 calls a second", 200),
    errors.PersonalData("email"),
    errors.NothingMarked(),
    errors.PrivacyChanged(),
    errors.AuditFailed("the audit cannot be written: EIO"),
    QuerySyntaxError("a = ", 1, 5, "the question ends too early", "expected a number"),
    QueryInvalid("the window ends before it starts"),
    QueryCancelled("the deadline passed"),
    QueryTooLarge("too much"),
    store_errors.BatchMalformed("no map"),
    store_errors.StoreFailed("sync: EIO"),
    store_errors.StorageFull(Path("/data/log"), "ENOSPC"),
    store_errors.BatchTooLarge(2, 1),
    store_errors.DocumentChanged("segments", 3),
    store_errors.DocumentTooLarge("segments", 2, 1),
    store_errors.ExportLost(3),
    store_errors.TailLost(7),
    store_errors.SnapshotFailed("a.parquet", "ENOSPC"),
    store_errors.SnapshotDamaged("a.parquet", "it is missing"),
    store_errors.PlaceUnusable("s3://bucket/cdp", "there is no bucket"),
    store_errors.FilesNotRemoved(Path("/data/log"), "EIO"),
)
# Raised while a shard starts, before it serves: they never travel.
NEVER_SENT: tuple[Exception, ...] = (
    store_errors.LogCorrupt(Path("/log"), 7, "checksum"),
    store_errors.LogUnsupported(Path("/log"), 9, 1),
    store_errors.SnapshotUnsupported("snapshot-1.json", 2, 1),
    store_errors.NothingToRestore("s3://bucket", 0, False),
    store_errors.PartitionElsewhere("data", 1, 3),
    store_errors.InstantTooEarly("data", 1, "2026-01-01T00:00:00+00:00"),
    store_errors.ProfilesUnderway(),
    store_errors.DocumentsNotDealtOut(3, ["other"]),
    store_errors.DirectoryExists(Path("/data")),
    store_errors.DirectoryForeign(Path("/data"), "it is a file"),
    store_errors.StructureBroken("created", "a row without a record"),
    store_errors.RecordUnsupported(Path("/log"), 16, 9),
    store_errors.DirectoryInUse(Path("/data")),
    store_errors.FileOutdated(Path("/data/keys.json"), 2, 3, "put it back"),
    store_errors.DirectoryMismatch(Path("/data"), "shards", 2, 3),
    store_errors.DirectoryDamaged(Path("/data/identity.json"), "no JSON"),
    store_errors.FileMissing(Path("/data/keys.json"), "restore it"),
    store_errors.ClusterKeyMismatch(Path("/data/shard-0")),
    store_errors.FileUnsupported(Path("/data/keys.json"), 9, 2),
    store_errors.KeysNotCarried(Path("/data/keys.json"), "it is damaged"),
    store_errors.RecordMisplaced(3),
    store_errors.RecordNotReplayed(Path("/log"), 7, "RECORDS", 3, 9, "ValueError"),
)
# No error of its own, only a base.
BASES = (store_errors.StoreError, QueryError, errors.RouterError)


def _below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _below(sub)


def _details(status: status_pb2.Status, kind: type[Message]) -> list[Any]:
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def test_every_error_of_ours_stands_in_a_list_above() -> None:
    ours = {kind for base in BASES for kind in _below(base) if kind.__module__.startswith("cdp_")}
    covered = {type(error) for error in (*EXAMPLES, *NEVER_SENT)}
    # RecordRejected and the like: a name drawn in the tree of errors.py must exist.
    assert ours == covered


def test_the_trees_drawn_in_the_modules_name_the_classes_there_are() -> None:
    for module in (store_errors, errors):
        lines = [line.lstrip("| ") for line in (module.__doc__ or "").splitlines()]
        drawn = {line.split()[1] for line in lines if line.startswith("+-- ")}
        there = {kind.__name__ for base in BASES for kind in _below(base) if kind.__module__ == module.__name__}
        assert drawn == there, module.__name__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_becomes_a_status_with_one_stable_reason(error: Exception) -> None:
    status = describe(error)
    assert status.code not in (code_pb2.OK, code_pb2.UNKNOWN, code_pb2.INTERNAL)
    assert status.message == str(error)
    [info] = _details(status, error_details_pb2.ErrorInfo)
    assert info.domain == DOMAIN
    assert info.reason.isupper()
    assert grpc_code(status).value[0] == status.code


@pytest.mark.parametrize("error", NEVER_SENT, ids=lambda error: type(error).__name__)
def test_what_never_travels_would_be_internal(error: Exception) -> None:
    assert describe(error).code == code_pb2.INTERNAL


def test_reasons_are_different_for_different_errors() -> None:
    # For callers these two are one: send smaller batches, whether a router or a shard's log says so.
    same = {"RequestTooLarge", "BatchTooLarge"}
    names = defaultdict[str, list[str]](list)
    for error in EXAMPLES:
        names[_details(describe(error), error_details_pb2.ErrorInfo)[0].reason].append(type(error).__name__)
    assert sorted(names["BATCH_TOO_LARGE"]) == sorted(same)
    assert [found for found in names.values() if len(found) > 1] == [names["BATCH_TOO_LARGE"]]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_invalid_argument_names_the_field_to_blame(error: Exception) -> None:
    status = describe(error)
    requests = _details(status, error_details_pb2.BadRequest)
    assert len(requests) == (status.code == code_pb2.INVALID_ARGUMENT)
    for request in requests:
        [violation] = request.field_violations
        assert violation.field
        assert violation.description


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_what_may_be_tried_again_says_when(error: Exception) -> None:
    status = describe(error)
    again = status.code in (code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED)
    assert (retry_delay_ms(status) > 0) == again
    assert len(_details(status, error_details_pb2.RetryInfo)) == again


def test_a_missing_profile_is_described_as_the_resource() -> None:
    [resource] = _details(describe(errors.ProfileNotFound("user_id", "ann")), error_details_pb2.ResourceInfo)
    assert resource.resource_name == "ann"


def _call_error(code: grpc.StatusCode, *metadata: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), "details", "debug")


def test_the_status_of_a_shard_is_passed_on_as_it_is() -> None:
    inner = describe(store_errors.StorageFull(Path("/data"), "ENOSPC"))
    passed = describe(
        _call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, ("grpc-status-details-bin", inner.SerializeToString()))
    )
    assert passed == inner


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_call_without_details_keeps_its_code(code: grpc.StatusCode) -> None:
    status = describe(_call_error(code))
    assert grpc_code(status) is code
    assert status.message == "details"
    assert len(_details(status, error_details_pb2.ErrorInfo)) == 1


# ---------------------------------------------------------------------------------------------------------- the border


class _Context:
    """What a handler sees of gRPC, remembering how the call was ended."""

    def __init__(self) -> None:
        self.ended: tuple[grpc.StatusCode, str, dict[str, Any]] | None = None

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any) -> None:
        self.ended = (code, details, dict(metadata))
        raise grpc.aio.AbortError


def _ended(status: status_pb2.Status) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    context: Any = _Context()
    with pytest.raises(grpc.aio.AbortError):
        asyncio.run(abort(context, status, ("x-request-id", "r-1")))
    return context.ended  # type: ignore[no-any-return]


def test_a_call_ends_with_the_status_of_its_error() -> None:
    code, details, metadata = _ended(status_of(EXAMPLES[0], "r-1"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == str(EXAMPLES[0])
    sent = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert [info.request_id for info in _details(sent, error_details_pb2.RequestInfo)] == ["r-1"]
    assert metadata["x-request-id"] == "r-1"
    assert "grpc-retry-pushback-ms" not in metadata


def test_a_status_that_may_be_tried_again_tells_grpc_when() -> None:
    _, _, metadata = _ended(status_of(errors.Overloaded("much is in flight", 250), "r-1"))
    assert metadata["grpc-retry-pushback-ms"] == "250"


def test_what_is_not_ours_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    status = status_of(KeyError("a secret of the server"), "r-1")
    assert status.code == code_pb2.INTERNAL
    assert "secret" not in str(status)
    assert len(_details(status, error_details_pb2.ErrorInfo)) == 1
    assert "a secret of the server" in caplog.text


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_each_kind_of_detail_is_there_once_even_after_a_shard_said_it(error: Exception) -> None:
    status = status_of(call_error(grpc_code(describe(error)), cause=error), "r-1")
    again = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    passed_on = status_of(grpc.aio.AioRpcError(grpc_code(status), grpc.aio.Metadata(), again, "said"), "r-1")
    kinds = [detail.type_url for detail in passed_on.details]
    assert len(kinds) == len(set(kinds))
    assert len(_details(passed_on, error_details_pb2.RequestInfo)) == 1


def test_the_facts_of_an_error_stand_in_its_info() -> None:
    [info] = _details(describe(errors.ShardUnavailable(["shard 1 is away"], [1, 3])), error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"partitions": "1,3"}


# Clients accept 8 KB of trailing metadata; percent encoding and base 64 make more of what is sent.
_METADATA_BYTES = 6000


@pytest.mark.parametrize(
    "error",
    [
        QuerySyntaxError("x" * 60_000, 1, 50_000, "unexpected text"),
        errors.ProfileNotFound("user_id", "ü" * 20_000),
        QueryInvalid("x" * 20_000),
        errors.RequestInvalid("question", "x" * 20_000),
        errors.ShardUnavailable(["x" * 100] * 60, range(1024)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_status_fits_into_the_metadata_of_a_call_however_long_the_cause(error: Exception) -> None:
    status = describe(error)
    size = len(status.message.encode()) + status.ByteSize()
    assert size < _METADATA_BYTES
