"""Whatever bytes and fields a call brings: an answer, or a typed error that names the fault and has changed nothing.

The methods come from the contract itself, so that none that is added later can be forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cdp.v1 import partition_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cdp_router.rpc.method_bounds import bounds_of
from tests.router.calls import call
from tests.router.contract_rpcs import broken, messages, methods, path_of
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import Served, served_cluster

METHODS = list(methods())
IDS = [method.full_name.removeprefix("cdp.v1.") for method in METHODS]
_OF_THE_REQUEST = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


_NEXT_EPOCH = 2  # of every partition that has not moved


class _Running:
    """A cluster on a loop of its own, called from tests that are not asynchronous."""

    def __init__(self, runner: asyncio.Runner, served: Served) -> None:
        self._runner, self.served = runner, served

    def call(self, method: MethodDescriptor, raw: bytes) -> tuple[grpc.StatusCode, status_pb2.Status | None]:
        """How a call with these bytes ends."""
        channel = self.served.channel_of(method.containing_service.full_name)
        ending = self._runner.run(call(channel, method, raw))
        return ending.code, ending.status


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Running]:
    folder = tmp_path_factory.mktemp("every rpc")
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.chdir(folder)  # a snapshot may be asked to go to any relative path
        manager = served_cluster(folder)
        served = runner.run(manager.__aenter__())
        sent = [Sent("View", f"u{n}", NOW_MS - n, {"n": n}) for n in range(20)]
        runner.run(served.ingest(protobuf_batch(sent)))
        yield _Running(runner, served)
        runner.run(manager.__aexit__(None, None, None))


def _details(status: status_pb2.Status, kind: Any) -> list[Any]:
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def _releases(method: MethodDescriptor, raw: bytes) -> bool:
    """Tests whether a call gives a partition away, rightly: nobody takes it here, and all later calls would miss it."""
    if method.name != "ReleasePartition":
        return False
    try:
        return partition_pb2.ReleasePartitionRequest.FromString(raw).epoch == _NEXT_EPOCH
    except DecodeError:
        return False


def _checked(running: _Running, method: MethodDescriptor, raw: bytes) -> None:
    assume(not _releases(method, raw))
    before = running.served.state()
    code, status = running.call(method, raw)
    if code is grpc.StatusCode.OK:
        return
    assert status is not None
    is_epoch = bool(_details(status, partition_pb2.EpochMismatch))
    assert code in _OF_THE_REQUEST or (code is grpc.StatusCode.ABORTED and is_epoch), (code, status)
    assert len(_details(status, error_details_pb2.ErrorInfo)) == 1
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        [bad] = _details(status, error_details_pb2.BadRequest)
        assert all(violation.field and violation.description for violation in bad.field_violations)
    assert running.served.state() == before


def test_every_service_of_the_contract_is_served_here(running: _Running) -> None:
    assert {method.containing_service.full_name for method in METHODS} == running.served.services


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_fields_at_and_beyond_what_is_sensible(
    running: _Running, method: MethodDescriptor, data: st.DataObject
) -> None:
    _checked(running, method, data.draw(messages(method.input_type)).SerializeToString())


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_bytes_that_may_be_no_message(running: _Running, method: MethodDescriptor, data: st.DataObject) -> None:
    _checked(running, method, data.draw(broken(method.input_type)))


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_request_beyond_its_bound(running: _Running, method: MethodDescriptor) -> None:
    bound = bounds_of(path_of(method)).request_bytes
    if bound > 1 << 25:
        pytest.skip("bounds of batches are tried where batches are")
    before = running.served.state()
    code, status = running.call(method, bytes(bound + 1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status is not None
    [bad] = _details(status, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == "request"
    assert running.served.state() == before
