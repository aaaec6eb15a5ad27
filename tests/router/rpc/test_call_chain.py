"""The chain of every call, over a real socket: ids, bounds, errors, observers, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from cdp_router.errors import DeadlineMissed, Overloaded
from cdp_router.limits import REQUEST_BYTES_MAX, REQUEST_SECONDS_MAX
from cdp_router.process.serving import SERVER_OPTIONS
from cdp_router.rpc import chain as chain_module
from cdp_router.rpc.call import Call, current_request_id, outgoing_metadata
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.large_requests import Readings
from cdp_router.rpc.method_bounds import bounds_of


class _Queries(query_pb2_grpc.QueryServiceServicer):
    """Answers with the request's id; `answer` may be replaced."""

    def __init__(self) -> None:
        self.entered, self.may_leave, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_leave.set()

    async def Query(self, request: query_pb2.QueryRequest, context: Any) -> query_pb2.QueryResponse:
        self.entered.set()
        await self.may_leave.wait()
        if request.text == "bug":
            raise KeyError("a secret")
        return query_pb2.QueryResponse(text=current_request_id(), warnings=[str(outgoing_metadata())])

    async def Members(self, request: query_pb2.MembersRequest, context: Any) -> AsyncIterator[Any]:
        try:
            yield query_pb2.MembersResponse(arrow=b"first")
            if request.text == "full":
                raise Overloaded("much is in flight", 250)
            while True:
                yield query_pb2.MembersResponse(arrow=bytes(1 << 16))
        finally:
            self.left.set()


class _Ingests(ingest_pb2_grpc.IngestServiceServicer):
    async def IngestStream(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for request in request_iterator:
            yield ingest_pb2.IngestStreamResponse(batch_id=request.batch.batch_id)


class _Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.codes = list[tuple[str, grpc.StatusCode]]()
        self.running = 0

    def began(self, call: Call, metadata: Any) -> None:
        self.running += 1
        call.passed_on = (("traceparent", "00-trace"),)

    def ended(self, call: Call, seconds: float) -> None:
        self.running -= 1
        self.codes.append((call.method, call.code))


class _Gate:
    is_over = False

    def admit(self, call: Call, metadata: Any) -> None:
        if ("x-key", "wrong") in metadata:
            raise Overloaded("this key is used too much", 1000)

    def renew(self, call: Call) -> None:
        if self.is_over:
            raise Overloaded("this key was taken back", 1000)


class _Served:
    """A server inside the chain and a channel to it."""

    def __init__(self, channel: grpc.aio.Channel, chain: Chain, seen: _Seen, service: _Queries, gate: _Gate) -> None:
        self.channel, self.chain, self.seen, self.service, self.gate = channel, chain, seen, service, gate
        self.queries = query_pb2_grpc.QueryServiceStub(channel)
        self.ingests = ingest_pb2_grpc.IngestServiceStub(channel)

    def raw(self, path: str) -> Any:
        """A call that sends bytes as they are."""
        return self.channel.unary_unary(path)


def serve(test: Callable[[_Served], Awaitable[None]]) -> None:
    """Run a test against a fresh server."""

    async def run() -> None:
        seen, service = _Seen(), _Queries()
        gate = _Gate()
        chain = Chain(gate, (seen,))
        server = grpc.aio.server(interceptors=[chain], options=(("grpc.max_receive_message_length", 1 << 28),))
        query_pb2_grpc.add_QueryServiceServicer_to_server(service, server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Ingests(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await test(_Served(channel, chain, seen, service, gate))
        finally:
            await server.stop(0)

    asyncio.run(run())


async def _failure(call: Any) -> tuple[grpc.aio.AioRpcError, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    for key, value in caught.value.trailing_metadata():
        if key == "grpc-status-details-bin":
            return caught.value, status_pb2.Status.FromString(value)
    raise AssertionError(f"no details: {caught.value}")


def _info(status: status_pb2.Status, kind: Any) -> Any:
    [found] = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    message = kind()
    found.Unpack(message)
    return message


def test_a_request_id_goes_all_the_way_and_comes_back() -> None:
    async def test(served: _Served) -> None:
        call = served.queries.Query(query_pb2.QueryRequest(), metadata=(("x-request-id", "r-7"),))
        answer = await call
        assert answer.text == "r-7"
        assert "('x-request-id', 'r-7'), ('traceparent', '00-trace')" in answer.warnings[0]
        assert ("x-request-id", "r-7") in list(await call.trailing_metadata())

    serve(test)


@pytest.mark.parametrize("given", ["", "x" * 129])
def test_an_id_that_cannot_be_used_is_replaced(given: str) -> None:
    async def test(served: _Served) -> None:
        first = await served.queries.Query(query_pb2.QueryRequest(), metadata=(("x-request-id", given),))
        second = await served.queries.Query(query_pb2.QueryRequest())
        assert len(first.text) == len(second.text) == 16
        assert first.text != second.text

    serve(test)


def test_bytes_that_are_no_message_are_an_invalid_argument() -> None:
    async def test(served: _Served) -> None:
        error, status = await _failure(served.raw("/cdp.v1.QueryService/Query")(b"\xff\xff\xff"))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert _info(status, error_details_pb2.BadRequest).field_violations[0].field == "request"
        assert _info(status, error_details_pb2.RequestInfo).request_id

    serve(test)


def test_a_request_beyond_its_bound_is_an_invalid_argument_and_one_at_it_is_not() -> None:
    async def test(served: _Served) -> None:
        head = query_pb2.QueryRequest(text="x" * (REQUEST_BYTES_MAX - 4)).SerializeToString()
        assert len(head) == REQUEST_BYTES_MAX
        await served.raw("/cdp.v1.QueryService/Query")(head)
        error, status = await _failure(served.raw("/cdp.v1.QueryService/Query")(head + b"\x1a\x00"))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(REQUEST_BYTES_MAX) in status.message

    serve(test)


def test_what_is_not_ours_is_internal_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    async def test(served: _Served) -> None:
        error, status = await _failure(served.queries.Query(query_pb2.QueryRequest(text="bug")))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(status)
        assert "a secret" in caplog.text

    serve(test)


def test_a_stream_fails_with_details_after_its_answers() -> None:
    async def test(served: _Served) -> None:
        stream = served.queries.Members(query_pb2.MembersRequest(text="full"))
        assert (await stream.read()).arrow == b"first"
        error, status = await _failure(stream)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _info(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 250
        assert ("grpc-retry-pushback-ms", "250") in list(error.trailing_metadata())

    serve(test)


def test_a_stream_whose_reader_goes_away_is_let_go() -> None:
    async def test(served: _Served) -> None:
        stream = served.queries.Members(query_pb2.MembersRequest())
        assert (await stream.read()).arrow == b"first"
        assert not served.service.left.is_set()
        stream.cancel()
        await served.service.left.wait()
        await served.chain.drain(30.0)
        assert served.seen.codes == [("Members", grpc.StatusCode.CANCELLED)]

    serve(test)


def test_a_bad_message_in_a_stream_ends_it_with_details() -> None:
    async def test(served: _Served) -> None:
        path = "/cdp.v1.IngestService/IngestStream"
        stream = served.channel.stream_stream(path)(iter([b"", b"\xff\xff\xff"]))
        error, status = await _failure(stream)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert _info(status, error_details_pb2.BadRequest).field_violations[0].field == "request"

    serve(test)


def test_a_stream_ends_with_the_key_it_was_opened_with() -> None:
    async def test(served: _Served) -> None:
        stream = served.ingests.IngestStream()
        await stream.write(ingest_pb2.IngestStreamRequest(batch=ingest_pb2.Batch(batch_id=b"1")))
        assert (await stream.read()).batch_id == b"1"
        served.gate.is_over = True
        await stream.write(ingest_pb2.IngestStreamRequest(batch=ingest_pb2.Batch(batch_id=b"2")))
        error, status = await _failure(stream)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "taken back" in status.message

    serve(test)


def test_answers_end_with_the_key_they_were_asked_for_with() -> None:
    async def test(served: _Served) -> None:
        stream = served.queries.Members(query_pb2.MembersRequest())
        assert (await stream.read()).arrow == b"first"
        served.gate.is_over = True
        error, _ = await _failure(stream)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await served.service.left.wait()

    serve(test)


def test_no_call_takes_longer_than_its_cap_however_slow_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "bounds_of", lambda path: replace(bounds_of(path), seconds=0.05))

    async def test(served: _Served) -> None:
        served.service.may_leave.clear()
        error, status = await _failure(served.queries.Query(query_pb2.QueryRequest(), timeout=3600))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.05 s" in status.message
        stream = served.queries.Members(query_pb2.MembersRequest())
        assert (await stream.read()).arrow == b"first"
        error, _ = await _failure(stream)  # what is read now was sent before the cap; without it there would be no end
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    serve(test)


def test_a_deadline_that_passes_is_told_with_details_before_the_caller_stops_listening() -> None:
    async def test() -> None:
        with pytest.raises(DeadlineMissed, match="allow more time"):
            async with chain_module._capped(600.0, 0.0):
                await asyncio.Event().wait()
        with pytest.raises(DeadlineMissed, match=r"0\.01 s"):
            async with chain_module._capped(0.01, 9.2e18):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError, match="not ours"):
            async with chain_module._capped(600.0, None):
                raise TimeoutError("not ours")

    asyncio.run(test())


def test_the_cap_of_everything_is_the_one_of_the_limits() -> None:
    assert bounds_of("/cdp.v1.QueryService/Query").seconds == REQUEST_SECONDS_MAX
    assert bounds_of("/cdp.v1.IngestService/IngestStream").seconds is None


def test_the_gate_may_refuse_a_call_before_it_is_read() -> None:
    async def test(served: _Served) -> None:
        call = served.raw("/cdp.v1.QueryService/Query")(b"\xff\xff", metadata=(("x-key", "wrong"),))
        error, _ = await _failure(call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not served.service.entered.is_set()

    serve(test)


@pytest.mark.parametrize("path", ["QueryService/Query", "QueryService/Members", "IngestService/Ingest"])
def test_who_may_not_call_is_refused_before_the_request_has_come_in(path: str) -> None:
    async def test(served: _Served) -> None:
        opened = served.channel.stream_stream(f"/cdp.v1.{path}")
        call = opened(metadata=(("x-key", "wrong"),), timeout=30)  # and not a byte of a request
        error, status = await _failure(call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this key is used too much" in status.message

    serve(test)


@pytest.mark.parametrize("path", ["QueryService/Query", "QueryService/Members", "IngestService/Ingest"])
def test_a_call_without_a_request_is_an_invalid_argument(path: str) -> None:
    async def test(served: _Served) -> None:
        call = served.channel.stream_stream(f"/cdp.v1.{path}")(timeout=30)
        await call.done_writing()
        error, _ = await _failure(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    serve(test)


def test_large_requests_are_read_some_at_a_time_and_those_of_one_key_leave_room_for_others() -> None:
    async def test() -> None:
        readings, entered, leave = Readings(together=3, of_key=2), list[str](), asyncio.Event()

        async def read(key: str) -> None:
            async with readings.one(key):
                entered.append(key)
                await leave.wait()

        async def settled() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(read(key)) for key in ("a", "a", "a", "b", "c")]
        await settled()
        assert entered == ["a", "a", "b"]
        leave.set()
        await asyncio.gather(*tasks)
        assert sorted(entered) == ["a", "a", "a", "b", "c"]

    asyncio.run(test())


def test_callers_without_keys_have_all_turns_and_the_others_wait() -> None:
    async def test() -> None:
        readings, running, most = Readings(together=3, of_key=1), 0, 0

        async def read() -> None:
            nonlocal running, most
            async with readings.one(""):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

        await asyncio.gather(*(read() for _ in range(1000)))
        assert (most, running) == (3, 0)

    asyncio.run(test())


def test_a_request_that_gets_no_turn_or_never_ends_is_told_so() -> None:
    async def test() -> None:
        readings = Readings(together=1, of_key=1, wait_seconds=0, read_seconds=0)
        with pytest.raises(DeadlineMissed, match="did not come in"):
            async with readings.one("a"):
                await asyncio.Event().wait()
        patient = Readings(together=1, of_key=1, wait_seconds=0, read_seconds=60)
        async with patient.one("a"):
            with pytest.raises(Overloaded):
                async with patient.one("b"):
                    pass
        async with patient.one("b"):
            pass

    asyncio.run(test())


def test_streams_wait_with_a_turn_until_others_lack_one_and_the_longest_idle_of_the_same_turns_is_ended() -> None:
    async def test() -> None:
        readings, waiting = Readings(together=3, of_key=2, idle_seconds=0), dict[str, asyncio.Task[None]]()

        async def wait(key: str) -> None:
            async with readings.next_of_stream(key):
                await asyncio.Event().wait()

        async def opened(name: str) -> None:
            waiting[name] = asyncio.create_task(wait(name[0]))
            await asyncio.sleep(0)

        for name in ("b1", "a1", "a2"):
            await opened(name)
        assert not any(task.done() for task in waiting.values())
        async with readings.one("a"):  # no turn of this key is left, so another key's stream is no help
            with pytest.raises(Overloaded, match="open a new stream"):
                await waiting["a1"]
        async with readings.one("c"), readings.one("c"):  # one turn is free again, and one has to be given
            with pytest.raises(Overloaded):
                await waiting["b1"]
        assert not waiting["a2"].done()
        waiting["a2"].cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)

    asyncio.run(test())


def test_a_stream_that_has_not_waited_long_is_not_ended_for_others() -> None:
    async def test() -> None:
        readings, opened = Readings(together=1, of_key=1, wait_seconds=0.05, idle_seconds=60), asyncio.Event()

        async def wait() -> None:
            async with readings.next_of_stream("a"):
                opened.set()
                await asyncio.Event().wait()

        waiting = asyncio.create_task(wait())
        await opened.wait()
        with pytest.raises(Overloaded, match="at once"):
            async with readings.one("b"):
                pass
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(test())


def test_observers_learn_of_every_end() -> None:
    async def test(served: _Served) -> None:
        await served.queries.Query(query_pb2.QueryRequest())
        await _failure(served.raw("/cdp.v1.QueryService/Query")(b"\xff"))
        await _failure(served.queries.Query(query_pb2.QueryRequest(text="bug")))
        served.service.entered.clear()
        served.service.may_leave.clear()
        hanging = served.queries.Query(query_pb2.QueryRequest())
        waiting = asyncio.ensure_future(hanging)
        await served.service.entered.wait()
        assert served.seen.running == 1
        hanging.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(served.chain.drain(30.0), 60)
        assert [code for _, code in served.seen.codes] == [
            grpc.StatusCode.OK,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.CANCELLED,
        ]

    serve(test)


def test_draining_lets_calls_end_refuses_new_ones_and_ends_streams() -> None:
    async def test(served: _Served) -> None:
        served.service.may_leave.clear()
        running = asyncio.ensure_future(served.queries.Query(query_pb2.QueryRequest()))
        stream = served.ingests.IngestStream()
        await stream.write(ingest_pb2.IngestStreamRequest(batch=ingest_pb2.Batch(batch_id=b"1")))
        assert (await stream.read()).batch_id == b"1"
        await served.service.entered.wait()
        draining = asyncio.ensure_future(served.chain.drain(30.0))
        error, status = await _failure(stream)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert _info(status, error_details_pb2.ErrorInfo).reason == "SHUTTING_DOWN"
        error, _ = await _failure(served.queries.Query(query_pb2.QueryRequest()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        served.service.may_leave.set()
        assert (await running).text
        await draining

    serve(test)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_messages_that_grpc_compresses_are_refused_since_their_bytes_bound_nothing(
    compression: grpc.Compression,
) -> None:
    async def test() -> None:
        server = grpc.aio.server(interceptors=[Chain()], options=SERVER_OPTIONS)
        query_pb2_grpc.add_QueryServiceServicer_to_server(_Queries(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub, request = query_pb2_grpc.QueryServiceStub(channel), query_pb2.QueryRequest(by="x" * 100_000)
            await stub.Query(request)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Query(request, compression=compression)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "compress" in (caught.value.details() or "").lower()
        await server.stop(None)

    asyncio.run(test())
