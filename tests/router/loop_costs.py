"""For how long requests of at most 1 MB keep an event loop: run in a process of its own, by CPU time.

`python -m tests.router.loop_costs FOLDER WHICH` prints one line of JSON for each request: its name, its bytes, what
became of it, and the CPU seconds of the process within the longest stretch in which the loop ran nothing else. A thread
that keeps the interpreter's lock counts like a callback: the loop waits for both.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pyarrow as pa
from cdp.v1 import ingest_pb2, query_pb2, schema_pb2, schema_pb2_grpc

from cdp_router.gateway.http_limits import BODY_BYTES_MAX
from cdp_router.ingest.violation_counts import Mode
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster
from tests.router.intake_costs import columns, known, linked, same, usual
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import served_cluster

_TICK_SECONDS = 0.002
INGEST, QUERY = "/cdp.v1.IngestService/Ingest", "/cdp.v1.QueryService/Query"
Body = tuple[str, bytes, dict[str, str]]  # path, body, headers


class Stretches:
    """The longest stretch of CPU time between two turns of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._last, self.longest = loop, time.process_time(), 0.0
        self._timer = loop.call_later(_TICK_SECONDS, self._tick)

    def begin(self) -> None:
        """Measure from now on."""
        self._last, self.longest = time.process_time(), 0.0

    def stop(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        now = time.process_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)


def _report(name: str, size: int, seconds: float, outcome: str) -> None:
    print(json.dumps({"name": name, "bytes": size, "seconds": round(seconds, 3), "outcome": outcome}), flush=True)


# ---------------------------------------------------------------------------------------------------------- the gateway


def _packed(body: bytes) -> tuple[bytes, dict[str, str]]:
    """As small as it gets."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "brotli") as stream:
        stream.write(body)
    return sink.getvalue().to_pybytes(), {"content-encoding": "br"}


def _joined(count: int, part: Callable[[int], str], first: str = "[", last: str = "]") -> bytes:
    return (first + ",".join(map(part, range(count))) + last).encode()


def _batch(calls: bytes) -> bytes:
    return b'{"batch":' + calls + b"}"


def _call(properties: str) -> Callable[[int], str]:
    return lambda n: f'{{"type":"track","event":"E","userId":"u{n}","messageId":"m{n}","properties":{properties}}}'


def bodies() -> Iterator[tuple[str, Body]]:
    """HTTP requests of at most a megabyte that stand for much work."""
    names = _joined(1_250_000, lambda n: f'"{n:x}":1', "{", "}")
    as_many = _joined(440_000, lambda n: f'"{n:x}":1', "{", "}")
    fields = "{" + ",".join(f'"k{n}":{n}' for n in range(60)) + "}"
    nested = "{" + ",".join(f'"k{n}":{{"a":{{"b":{n}}}}}' for n in range(20)) + "}"
    lists = "{" + ",".join(f'"k{n}":{list(range(20))}' for n in range(10)) + "}"
    segment = {
        "names": b'{"a":' + names + b"}",
        "names of a call": _batch(_joined(1, _call(names.decode()))),
        "as many names as may be": b'{"a":' + as_many + b"}",
        "as many names as may be, and NaN": b'{"b":NaN,"a":' + as_many + b"}",
        "as many names of a call": _batch(_joined(1, _call(as_many.decode()))),
        "texts": _joined(1_390_000, lambda n: f'"{n}"'),
        "numbers and NaN": _joined(1_390_000, lambda n: f"1.{n}", "[NaN,"),
        "long integers": _joined(BODY_BYTES_MAX // 4301, lambda n: "9" * 4300),
        "objects": _joined(250_000, lambda n: '{"a":1}'),
        "depth": b'{"a":' * 300_000,
        "depth of a call": _batch(_joined(1, _call('{"a":' * 200_000 + "1" + "}" * 200_000))),
        "calls": _batch(_joined(5000, _call(fields))),
        "nested calls": _batch(_joined(5000, _call(nested))),
        "calls of lists": _batch(_joined(5000, _call(lists))),
        "calls of nobody": _batch(_joined(5000, lambda n: f'{{"type":"track","properties":{fields}}}')),
        "blanks": b" " * (BODY_BYTES_MAX - 1) + b"1",
    }
    for name, body in segment.items():
        yield name, ("/v1/batch", *_packed(body))
    events = _joined(5000, lambda n: f'{{"event":"E","distinct_id":"u{n}","properties":{fields}}}')
    yield "events", ("/batch", *_packed(b'{"api_key":"web","batch":' + events + b"}"))
    texts = ("did(E) or " * 90_000 + "did(E)", "(" * 400_000, f"a in {list(range(130_000))}")
    for number, text in enumerate(texts):
        yield f"question {number}", ("/v1/segments:count", json.dumps({"text": text}).encode(), {})
    yield "question of names", ("/v1/segments:count", as_many[:900_000], {})


def run_bodies(folder: Path) -> None:
    """Send all bodies to a gateway before a cluster, in this process."""
    with gateway_cluster(folder) as gateway:
        _post(gateway, ("/v1/batch", _batch(_joined(100, _call('{"a":1}'))), {}))
        stretches = gateway.runner.run(_made(gateway.runner.loop))
        for name, body in bodies():
            gateway.runner.run(_begun(stretches))
            outcome = _post(gateway, body)
            _report(name, len(body[1]), stretches.longest, outcome)
        gateway.runner.loop.call_soon_threadsafe(stretches.stop)


def _post(gateway: GatewayCluster, body: Body) -> str:
    path, data, headers = body
    answer = gateway.http.post(gateway.url + path, data=data, headers=headers, timeout=600)
    return f"{answer.status_code} {answer.text[:60]}"


async def _made(loop: asyncio.AbstractEventLoop) -> Stretches:
    return Stretches(loop)


async def _begun(stretches: Stretches) -> None:
    stretches.begin()


# --------------------------------------------------------------------------------------------- a router and its shards


def _rows(rows: list[Any]) -> ingest_pb2.Batch:
    return ingest_pb2.Batch(msgpack_rows=msgpack.packb(rows))


def _row(n: int, values: dict[str, Any]) -> list[Any]:
    return ["E", f"u{n}", None, NOW_MS, None, values]


def batches() -> Iterator[tuple[str, ingest_pb2.Batch]]:
    """Batches of at most a megabyte that stand for much work."""
    # First: what comes after shares chunks with thousands of names, or must not.
    yield "names", _rows([_row(n, {f"{n}": 1}) for n in range(35_000)])
    yield from ((name, make()) for name, make in known() if name in _KNOWN)
    yield "maps of a row", _rows([_row(0, {str(n): 1 for n in range(100_000)})])
    yield "lists of maps", _rows([_row(n, {"a": [{"b": 1}] * 10}) for n in range(15_000)])
    yield "operations", _rows([[None, *_row(n, {})[1:], {}, {"increment": {"a": 1}}] for n in range(20_000)])
    yield "links", ingest_pb2.Batch(arrow_columns=columns(**linked(180_000)))
    for event in ("Apart", "Refused", "Warned"):
        arrays = usual(300_000) | {"event": same(event, 300_000)}
        yield event, ingest_pb2.Batch(arrow_columns=columns(**arrays))
    wide = {f"c{n}": pa.array([1] * 40) for n in range(7000)}
    yield "columns", ingest_pb2.Batch(arrow_columns=columns(**usual(40), **wide))
    yield "identifiers", _messages(1, identifiers={f"k{n}": "v" for n in range(75_000)})
    value = ingest_pb2.Value(integer=1)
    yield "a map", _messages(1, event=ingest_pb2.EventRecord(properties={f"k{n}": value for n in range(60_000)}))
    yield "maps", _messages(300, event=ingest_pb2.EventRecord(properties={f"k{n}": value for n in range(200)}))
    envelopes = ingest_pb2.Envelopes(texts=map(str, range(110_000)), records=[0])
    yield "envelopes", ingest_pb2.Batch(msgpack_rows=msgpack.packb([_row(0, {})]), envelopes=envelopes)


_KNOWN = {
    "nobody's rows",
    "as many users as may be",
    "many names of events",
    "as many records of nothing as may be",
    "lists in a list",
    "maps in a list",
    "empty messages that may be",
    "empty values",
}


def _messages(count: int, **fields: Any) -> ingest_pb2.Batch:
    records = [ingest_pb2.Record(user_id="u", **fields)] * count
    return ingest_pb2.Batch(rows=ingest_pb2.RecordRows(records=records))


def questions() -> Iterator[tuple[str, query_pb2.QueryRequest]]:
    """Questions of at most a megabyte."""
    yield "question: long", query_pb2.QueryRequest(text="did(E) or " * 90_000 + "did(E)")
    yield "question: in", query_pb2.QueryRequest(text=f"a in {list(range(130_000))}")
    yield "question: deep", query_pb2.QueryRequest(text="(" * 900_000)
    yield "question: cql", query_pb2.QueryRequest(cql="{" * 900_000)
    yield "question: by", query_pb2.QueryRequest(text="did(E)", by="x" * 900_000)


def _rules() -> schema_pb2.SetSchemaRulesRequest:
    rules = schema_pb2.SchemaRules()
    for event, mode in (("Apart", Mode.QUARANTINE), ("Refused", Mode.REJECT), ("Warned", Mode.WARN)):
        rule = rules.rules.add(event=event, mode=mode)
        rule.properties.add(name="p", required=True)
    return schema_pb2.SetSchemaRulesRequest(rules=rules)


async def run_batches(folder: Path) -> None:
    """Send all batches and questions to a router and its shards, which are in this process and on its loop."""
    async with served_cluster(folder) as served, _measured() as stretches:
        await schema_pb2_grpc.SchemaServiceStub(served.router).SetSchemaRules(_rules())
        for warm in (_rows([_row(0, {"a": 1})]), ingest_pb2.Batch(arrow_columns=columns(**linked(2000)))):
            warm.batch_id = b"warm"  # kernels are loaded when they are first needed
            await served.ingest(warm)

        async def send(path: str, name: str, raw: bytes) -> None:
            stretches.begin()
            try:
                answer = await served.router.unary_unary(path)(raw, timeout=600)
                outcome = f"OK, {len(answer)} bytes"
            except grpc.aio.AioRpcError as error:
                outcome = error.code().name
            await asyncio.sleep(2 * _TICK_SECONDS)
            _report(name, len(raw), stretches.longest, outcome)

        for name, batch in batches():
            batch.batch_id = name.encode()
            await send(INGEST, name, ingest_pb2.IngestRequest(batch=batch).SerializeToString())
        for name, question in questions():
            await send(QUERY, name, question.SerializeToString())


@asynccontextmanager
async def _measured() -> AsyncIterator[Stretches]:
    stretches = Stretches(asyncio.get_running_loop())
    yield stretches
    stretches.stop()


def main(folder: str, which: str) -> None:
    """Run one set of requests."""
    if which == "bodies":
        run_bodies(Path(folder))
    else:
        asyncio.run(run_batches(Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
