"""Open streams of batches take memory only while a message is read, and take turns for that with all other requests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, ingest_pb2_grpc

from cdp_store.limits import MIB
from tests.router.served_cluster import OPTIONS

MESSAGE_BYTES = 30 * MIB
STREAMS = 32
GROWTH_MAX = STREAMS * MESSAGE_BYTES // 2  # one or two messages, and what allocators keep for the next ones
OWN_CONNECTION = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True, slots=True)
class _Server:
    process: subprocess.Popen[str]
    address: str

    def memory(self, field: str) -> int:
        """A field of the process's status, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        return 1024 * int(lines[field].split()[0])


@contextmanager
def _server(folder: Path, turns: int) -> Iterator[_Server]:
    command = [sys.executable, "-m", "tests.router.stream_server", str(folder), str(turns)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield _Server(process, process.stdout.readline().strip())
        finally:
            process.stdin.close()
            process.wait(60)


@asynccontextmanager
async def _cut_off(address: str, passed: int) -> AsyncIterator[str]:
    """A way to a server that passes on so many bytes of each connection, and keeps it open without another one."""
    host, _, port = address.rpartition(":")

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int) -> None:
        while left > 0 and (data := await source.read(min(left, 1 << 16))):
            sink.write(data)
            await sink.drain()
            left -= len(data)

    tasks = set[asyncio.Task[None]]()

    async def connected(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(pass_on(source, requests, passed), pass_on(answers, sink, 1 << 62))
        except (ConnectionError, asyncio.CancelledError):
            pass  # one side has gone, or the test is over
        finally:
            for writer in (requests, sink):
                writer.transport.abort()

    def hold(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(connected(source, sink)))

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def _message(size: int) -> ingest_pb2.IngestStreamRequest:
    return ingest_pb2.IngestStreamRequest(batch=ingest_pb2.Batch(batch_id=b"x", arrow_columns=bytes(size)))


def _stream(channel: grpc.aio.Channel) -> Any:
    return ingest_pb2_grpc.IngestServiceStub(channel).IngestStream()


def test_streams_that_wait_between_two_batches_hold_none_of_them(tmp_path: Path) -> None:
    async def test(server: _Server) -> None:
        before, message = server.memory("VmRSS"), _message(MESSAGE_BYTES)
        async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
            for stream in [_stream(channel) for _ in range(STREAMS)]:
                await stream.write(message)
                assert (await stream.read()).HasField("failure")
            assert server.memory("VmHWM") - before < GROWTH_MAX

    with _server(tmp_path, STREAMS) as server:
        asyncio.run(test(server))


def test_of_streams_that_stop_inside_of_a_batch_the_longest_idle_are_ended_for_others(tmp_path: Path) -> None:
    turns = 2

    async def end(channel: grpc.aio.Channel, message: ingest_pb2.IngestStreamRequest) -> grpc.aio.AioRpcError:
        stream = _stream(channel)
        writing = asyncio.ensure_future(stream.write(message))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        await asyncio.gather(writing, return_exceptions=True)
        return caught.value

    async def test(server: _Server) -> None:
        before, message, ended = server.memory("VmRSS"), _message(MESSAGE_BYTES), list[grpc.aio.AioRpcError]()
        async with _cut_off(server.address, MESSAGE_BYTES - MIB) as address, AsyncExitStack() as stack:
            for _ in range(STREAMS):
                channel = grpc.aio.insecure_channel(address, options=OWN_CONNECTION)
                await stack.enter_async_context(channel)
                ended.append(end(channel, message))
            tasks = [asyncio.ensure_future(each) for each in ended]
            for number, each in enumerate(asyncio.as_completed(tasks)):
                error = await each
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "new stream" in (error.details() or "")
                if number == STREAMS - turns - 1:
                    break
            assert server.memory("VmHWM") - before < GROWTH_MAX
            for task in tasks:
                task.cancel()

    with _server(tmp_path, turns) as server:
        asyncio.run(test(server))
