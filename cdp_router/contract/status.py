"""Translation of our errors to gRPC statuses with rich details, in one place."""

from __future__ import annotations

import logging
from typing import Any, Final, NoReturn

import grpc
from cdp.v1 import partition_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cdp_query.errors import QueryCancelled, QueryError, QuerySyntaxError
from cdp_router.contract.partition_claims import from_mismatch, to_mismatch
from cdp_router.errors import (
    AuditFailed,
    DeadlineMissed,
    ErasuresChanged,
    MoveRefused,
    NothingMarked,
    Overloaded,
    PersonalData,
    PersonChanged,
    PrivacyChanged,
    ProfileNotFound,
    RateLimited,
    RequestInvalid,
    RestoreRefused,
    RoleMissing,
    RouterError,
    SchemaChanged,
    SegmentInUse,
    SegmentNotFound,
    SegmentsChanged,
    ShardUnavailable,
    ShuttingDown,
    Unauthenticated,
    ViewsLost,
    WrongCluster,
    WrongEpoch,
)
from cdp_store.errors import (
    BatchMalformed,
    BatchTooLarge,
    DocumentChanged,
    DocumentTooLarge,
    ExportLost,
    FilesNotRemoved,
    PlaceUnusable,
    SnapshotDamaged,
    SnapshotFailed,
    StorageFull,
    StoreError,
    StoreFailed,
    TailLost,
)

DOMAIN: Final = "cdp.v1"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
_LOG = logging.getLogger(__name__)
_RETRY_STORAGE_MS: Final = 5000
_TEXT_BYTES_MAX: Final = 1000
_FACT_BYTES_MAX: Final = 200

Context = grpc.aio.ServicerContext[Any, Any]
TRANSLATED: Final = (StoreError, QueryError, RouterError, grpc.aio.AioRpcError)


def describe(error: Exception) -> status_pb2.Status:
    """The google.rpc.Status of one of our errors, or of a call to a shard that failed."""
    match error:
        case grpc.aio.AioRpcError():
            return _status_of_call(error)
        case QueryError():
            return _status_of_query(error)
        case RouterError():
            return _status_of_router(error)
        case StoreError():
            return _status_of_store(error)
    return _status(code_pb2.INTERNAL, error, "INTERNAL")


def _status_of_query(error: QueryError) -> status_pb2.Status:
    match error:
        case QuerySyntaxError(problem=problem):
            return _status(code_pb2.INVALID_ARGUMENT, error, error.code, _violation("question", problem))
        case QueryCancelled():
            return _status(code_pb2.DEADLINE_EXCEEDED, error, error.code)
    return _status(code_pb2.INVALID_ARGUMENT, error, error.code, _violation("question", str(error)))


def _status_of_router(error: RouterError) -> status_pb2.Status:
    match error:
        case Unauthenticated():
            return _status(code_pb2.UNAUTHENTICATED, error, error.reason)
        case RateLimited(key=key, limit=limit, retry_after_ms=retry_after_ms):
            violation = error_details_pb2.QuotaFailure.Violation(subject=f"key:{key}", description=limit)
            quota = error_details_pb2.QuotaFailure(violations=[violation])
            return _status(code_pb2.RESOURCE_EXHAUSTED, error, error.reason, _retry(retry_after_ms), quota)
        case AuditFailed():
            return _status(code_pb2.UNAVAILABLE, error, error.reason, _retry(_RETRY_STORAGE_MS))
        case PrivacyChanged():
            return _status(code_pb2.ABORTED, error, error.reason)
        case RoleMissing() | PersonalData() | NothingMarked():
            return _status(code_pb2.PERMISSION_DENIED, error, error.reason)
        case RequestInvalid(field=field, problem=problem):
            return _status(code_pb2.INVALID_ARGUMENT, error, error.reason, _violation(field, problem))
        case ProfileNotFound(kind=kind, value=value):
            resource = error_details_pb2.ResourceInfo(resource_type=f"profile by {kind}", resource_name=_cut(value))
            return _status(code_pb2.NOT_FOUND, error, error.reason, resource)
        case SegmentNotFound(name=name):
            resource = error_details_pb2.ResourceInfo(resource_type="segment", resource_name=_cut(name))
            return _status(code_pb2.NOT_FOUND, error, error.reason, resource)
        case SegmentsChanged() | ErasuresChanged() | SchemaChanged() | PersonChanged():
            return _status(code_pb2.ABORTED, error, error.reason)
        case RestoreRefused():
            return _status(code_pb2.FAILED_PRECONDITION, error, error.reason)
        case SegmentInUse() | WrongCluster() | MoveRefused():
            return _status(code_pb2.FAILED_PRECONDITION, error, error.reason)
        case WrongEpoch(claims=claims):
            return _status(code_pb2.ABORTED, error, error.reason, to_mismatch(claims))
        case ShardUnavailable() | ViewsLost():
            return _status(code_pb2.UNAVAILABLE, error, error.reason, _retry(500))
        case ShuttingDown():
            return _status(code_pb2.UNAVAILABLE, error, error.reason, _retry(500))
        case DeadlineMissed():
            return _status(code_pb2.DEADLINE_EXCEEDED, error, error.reason)
        case Overloaded(retry_after_ms=retry_after_ms):
            return _status(code_pb2.RESOURCE_EXHAUSTED, error, error.reason, _retry(retry_after_ms))
    return _status(code_pb2.INTERNAL, error, "INTERNAL")


def _status_of_store(error: StoreError) -> status_pb2.Status:
    match error:
        case StorageFull():
            return _status(code_pb2.RESOURCE_EXHAUSTED, error, "STORAGE_FULL", _retry(_RETRY_STORAGE_MS))
        case StoreFailed():
            return _status(code_pb2.UNAVAILABLE, error, "STORE_FAILED", _retry(1000))
        case DocumentChanged():
            return _status(code_pb2.ABORTED, error, "DOCUMENT_CHANGED")
        case DocumentTooLarge():
            return _status(code_pb2.INVALID_ARGUMENT, error, "DOCUMENT_TOO_LARGE", _violation("content", str(error)))
        case ExportLost():
            return _status(code_pb2.FAILED_PRECONDITION, error, "EXPORT_LOST")
        case TailLost():
            return _status(code_pb2.FAILED_PRECONDITION, error, "TAIL_LOST")
        case SnapshotFailed():
            return _status(code_pb2.FAILED_PRECONDITION, error, "SNAPSHOT_FAILED")
        case PlaceUnusable():
            return _status(code_pb2.FAILED_PRECONDITION, error, "PLACE_UNUSABLE")
        case FilesNotRemoved():
            return _status(code_pb2.FAILED_PRECONDITION, error, "FILES_NOT_REMOVED")
        case SnapshotDamaged():
            return _status(code_pb2.FAILED_PRECONDITION, error, "SNAPSHOT_DAMAGED")
        case BatchTooLarge():
            return _status(code_pb2.INVALID_ARGUMENT, error, "BATCH_TOO_LARGE", _violation("batch", str(error)))
        case BatchMalformed():
            return _status(code_pb2.INVALID_ARGUMENT, error, "BATCH_INVALID", _violation("batch", str(error)))
    return _status(code_pb2.INTERNAL, error, "INTERNAL")


def _status_of_call(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return _status(error.code().value[0], RuntimeError(error.details() or "the call failed"), "SHARD_CALL_FAILED")


def _status(code: int, error: Exception, reason: str, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_cut(str(error)))
    facts = {key: _cut(value, _FACT_BYTES_MAX) for key, value in getattr(error, "facts", {}).items()}
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=facts), *details):
        _attach(status, detail)
    return status


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, bytes_max: int = _TEXT_BYTES_MAX) -> str:
    """A status short enough for metadata, of which gRPC carries 8 KB: the message, and once more in the details."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return text
    return encoded[:bytes_max].decode(errors="ignore") + " ..."


def _violation(field: str, problem: str) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field=_cut(field), description=_cut(problem))]
    )


def _retry(after_ms: int) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration(seconds=after_ms // 1000, nanos=after_ms % 1000 * 1_000_000)
    return error_details_pb2.RetryInfo(retry_delay=delay)


def mismatch_of(error: grpc.aio.AioRpcError) -> WrongEpoch | None:
    """The refusal for another epoch, if that made a call to a shard fail."""
    if error.code() is not grpc.StatusCode.ABORTED:
        return None
    mismatch = partition_pb2.EpochMismatch()
    for detail in _status_of_call(error).details:
        if detail.Unpack(mismatch):
            return WrongEpoch(from_mismatch(mismatch))
    return None


def retry_delay_ms(status: status_pb2.Status) -> int:
    """Time that the status asks the client to wait before a retry; 0 if it does not."""
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            return int(retry.retry_delay.ToMilliseconds())
    return 0


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a google.rpc.Status."""
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)


def reason_of(error: Exception) -> str:
    """Stable name of an error."""
    info = error_details_pb2.ErrorInfo()
    for detail in describe(error).details if isinstance(error, TRANSLATED) else ():
        if detail.Unpack(info):
            return str(info.reason)
    return "INTERNAL"


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """The status that a call ends with; foreign errors are logged and hidden."""
    if isinstance(error, TRANSLATED):
        status = describe(error)
    else:
        _LOG.error("internal error", exc_info=error)
        status = _status(code_pb2.INTERNAL, RuntimeError("internal error; the server's log has it"), "INTERNAL")
    # A shard's status has the id of the request already: it is the same one.
    if not any(detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR) for detail in status.details):
        _attach(status, error_details_pb2.RequestInfo(request_id=request_id))
    return status


async def abort(context: Context, status: status_pb2.Status, *metadata: tuple[str, str]) -> NoReturn:
    """Ends a call with a status."""
    await context.abort(grpc_code(status), status.message, trailing(status, *metadata))
    raise AssertionError("abort does not return")


def trailing(status: status_pb2.Status, *metadata: tuple[str, str]) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata that goes with a status; says when to try again, for clients that do so by themselves."""
    retry_ms = retry_delay_ms(status)
    pushback = ((_PUSHBACK_KEY, str(retry_ms)),) if retry_ms else ()
    return (*metadata, *pushback, (_DETAILS_KEY, status.SerializeToString()))
