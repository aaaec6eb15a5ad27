"""What requests of at most 1 MB cost a cluster in one process: run in a process of its own, which is measured.

`python -m tests.router.intake_costs FOLDER` prints one line of JSON for each request: its name, its bytes, what became
of it, and by how many bytes the peak of resident memory rose.
"""

from __future__ import annotations

import gc
import gzip
import json
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_router.errors import RouterError
from cdp_router.gateway.bodies import check_values, decompressed, read_json
from cdp_router.gateway.http_limits import BODY_BYTES_MAX
from cdp_router.gateway.problems import Problem
from tests.router.local_cluster import NOW_MS, local_cluster

MB = 1_000_000
Make = Callable[[], ingest_pb2.Batch]


def columns(compression: str | None = "zstd", **arrays: pa.Array) -> bytes:
    """An Arrow stream of columns of one length."""
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def same(text: str, count: int) -> pa.Array:
    """One text again and again, as a dictionary."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def times(count: int) -> pa.Array:
    """Instants."""
    return pa.array(np.full(count, NOW_MS, np.int64))


def usual(count: int) -> dict[str, pa.Array]:
    """The columns every record needs."""
    return {"user_id": same("u", count), "time": times(count), "event": same("E", count)}


def linked(count: int) -> dict[str, pa.Array]:
    """Records that each give one user another identifier, many more than a person may have."""
    return usual(count) | {"anonymous_id": pa.array([str(number) for number in range(count)])}


def _arrow(**arrays: pa.Array) -> Make:
    return lambda: ingest_pb2.Batch(arrow_columns=columns(**arrays))


def _packed(packed: bytes) -> Make:
    return lambda: ingest_pb2.Batch(msgpack_rows=packed)


def _row(values: bytes) -> bytes:
    return b"\x91\x96\xa1E\xa1u\xc0\xcf" + NOW_MS.to_bytes(8, "big") + b"\xc0\x81\xa1p" + values


def _lists(count: int, items: int) -> pa.Array:
    d = pa.array([["y" * 8000] * items])
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), d)


def _coded_lists(count: int) -> pa.Array:
    items = same("z" * 900_000, count)
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), items)


def _named(count: int) -> pa.Array:
    names = ["name", "boolean", "integer", "number", "text", "time", "list"]
    nothing = pa.nulls(count)
    fields = [same("p", count), nothing, nothing, nothing, same("z" * 900_000, count), nothing, nothing]
    values = pa.StructArray.from_arrays(fields, names)
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), values)


def _records(*records: ingest_pb2.Record) -> Make:
    return lambda: ingest_pb2.Batch(rows=ingest_pb2.RecordRows(records=records))


def _of_bytes(rows: bytes) -> Make:
    return lambda: ingest_pb2.Batch(rows=ingest_pb2.RecordRows.FromString(rows))


def known() -> Iterator[tuple[str, Make]]:
    """Requests that took a router's memory once, and their kin."""
    yield "dictionary of a list", _arrow(**usual(20_000), l=_lists(20_000, 100))
    yield "20 M equal rows", _arrow(**usual(20_000_000))
    yield "3 M rows", _arrow(**usual(3_000_000))
    yield "as many rows as may be", _arrow(**usual(200_000))
    yield (
        "as many users as may be",
        _arrow(compression="lz4", user_id=pa.array([f"{n:06}" for n in range(90_000)]), time=times(90_000)),
    )
    yield "links beyond what a person may have", _arrow(**linked(180_000))
    yield "nobody's rows", _arrow(user_id=same("null", 300_000), time=times(300_000))
    yield "an id of a megabyte for each row", _arrow(**usual(100_000) | {"user_id": same("u" * 900_000, 100_000)})
    yield "a name of a megabyte for each row", _arrow(**usual(100_000) | {"event": same("E" * 900_000, 100_000)})
    yield "a text of a megabyte for each row", _arrow(**usual(100_000), p=same("z" * 900_000, 100_000))
    yield "texts of a megabyte in lists", _arrow(**usual(100_000), p=_coded_lists(100_000))
    yield "texts of a megabyte by name", _arrow(**usual(100_000), values=_named(100_000))
    yield "many names of events", _arrow(**usual(60_000) | {"event": pa.array([f"{n:0110}" for n in range(60_000)])})
    yield "columns of booleans", _arrow(**usual(900), **{f"b{n}": pa.array(np.ones(900, np.bool_)) for n in range(900)})
    yield "strings of spaces", _arrow(**usual(2000), p=pa.array([" " * 8000] * 2000))
    yield (
        "runs",
        _arrow(**usual(1000), p=pa.RunEndEncodedArray.from_arrays(pa.array([1000], pa.int32()), pa.array([1]))),
    )
    yield "views", _arrow(**usual(1000), p=pa.array(["z" * 100] * 1000, pa.string_view()))
    yield "3.9 M records of nothing", _packed(b"\xdd" + (3_900_000).to_bytes(4, "big") + b"\x90" * 3_900_000)
    yield "a million records of nothing", _packed(b"\xdd" + MB.to_bytes(4, "big") + b"\x90" * MB)
    yield "as many records of nothing as may be", _packed(b"\xdd" + (1 << 18).to_bytes(4, "big") + b"\x90" * (1 << 18))
    yield "nothing in a list", _packed(_row(b"\xdd" + (900_000).to_bytes(4, "big") + b"\xc0" * 900_000))
    yield "lists in a list", _packed(_row(b"\xdd" + (900_000).to_bytes(4, "big") + b"\x90" * 900_000))
    yield "maps in a list", _packed(_row(b"\xdd" + (300_000).to_bytes(4, "big") + b"\x81\xa0\x90" * 300_000))
    yield "lists without end", _packed(_row(b"\x91" * 900_000 + b"\x90"))
    yield "empty messages", _of_bytes(b"\x0a\x00" * 450_000)
    yield "empty messages that may be", _of_bytes(b"\x0a\x00" * (1 << 18))
    value = ingest_pb2.Value(list=ingest_pb2.ValueList(items=[ingest_pb2.Value()] * 450_000))
    yield (
        "empty values",
        _records(ingest_pb2.Record(user_id="u", event=ingest_pb2.EventRecord(properties={"p": value}))),
    )


def drawn(seed: int) -> Iterator[tuple[str, Make]]:
    """Streams of random types, compressions and ratios, at most a megabyte each."""
    chance = random.Random(seed)
    for number in range(40):
        count = chance.choice((1, 1000, 50_000, 400_000, 1_000_000, 5_000_000))
        arrays = usual(count)
        for at in range(chance.randrange(1, 6)):
            arrays[f"p{at}"] = _drawn_column(chance, count)
        for name in ("user_id", "event"):
            if chance.random() < 0.2:
                arrays[name] = same(chance.choice(("u" * 500, "u" * 200_000)), count)
        stream = columns(chance.choice(("zstd", "lz4")), **arrays)
        if len(stream) <= MB:
            yield f"drawn {seed}.{number}", partial(ingest_pb2.Batch, arrow_columns=stream)


def _drawn_column(chance: random.Random, count: int) -> pa.Array:
    zeros = np.zeros(count, np.int32)
    text = "t" * chance.choice((0, 5, 1000, 500_000))
    match chance.randrange(8):
        case 0:
            return pa.array(np.ones(count, np.bool_))
        case 1:
            return pa.array(zeros.astype(chance.choice((np.int8, np.int64, np.float64))))
        case 2:
            return same(text, count)
        case 3:
            return pa.array(np.full(count, "s" * chance.choice((1, 8)))) if count <= 1_000_000 else same("s", count)
        case 4:
            return pa.DictionaryArray.from_arrays(pa.array(zeros), pa.array([[text] * chance.choice((1, 100))]))
        case 5:
            items = pa.array(np.zeros(count, np.int8))
            return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), items)
        case 6:
            return pa.nulls(count)
    return pa.DictionaryArray.from_arrays(pa.array(zeros.astype(np.int8)), pa.array([1.5]))


def bodies() -> Iterator[tuple[str, bytes, str]]:
    """(name, body, content encoding) of HTTP requests that stand for much."""
    size = BODY_BYTES_MAX - 100
    plain = {
        "lists": b"[" + b"[]," * (size // 3) + b"1]",
        "objects": b"[" + b"{}," * (size // 3) + b"1]",
        "objects of one": b"[" + b'{"":1},' * (size // 7) + b"1]",
        "numbers": b"[" + b"300," * (size // 4) + b"1]",
        "names": b"{" + b",".join(b'"%x":1' % number for number in range(1_250_000)) + b"}",
        "as many names as may be": b"{" + b",".join(b'"%x":1' % number for number in range(460_000)) + b"}",
        "depth": b"[" * size,
        "texts": b"[" + b'"xx",' * (size // 5) + b"1]",
        "not quite JSON": b"[NaN," + '"\U0001f600",'.encode() + b"[]," * (size // 3 - 10) + b"1]",
        "beyond": b" " * (3 * BODY_BYTES_MAX),
    }
    for name, body in plain.items():
        yield f"gzip: {name}", gzip.compress(body, 1), ""
    body = plain["lists"]
    yield "deflate", zlib.compress(body, 1), "deflate"
    yield "zstd", pa.compress(body, "zstd", asbytes=True), "zstd"
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "brotli") as stream:
        stream.write(body)
    yield "br", sink.getvalue().to_pybytes(), "br"


def _held() -> int:
    """Resident bytes, after the peak was set back to them: making a request may cost more than taking it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def _report(name: str, size: int, before: int, outcome: str) -> None:
    line = {"name": name, "bytes": size, "growth": _peak() - before, "outcome": outcome}
    print(json.dumps(line), flush=True)


def _run_bodies() -> None:
    for name, body, encoding in bodies():
        before, outcome = _held(), "read"
        try:
            plain = decompressed(body, encoding, BODY_BYTES_MAX)
            check_values(plain)
            read_json(plain)
        except Problem as problem:
            outcome = problem.code
        _report(name, len(body), before, outcome)


def _run_batches(folder: Path, made: Iterator[tuple[str, Make]]) -> None:
    with local_cluster(folder) as cluster:
        warm = _arrow(**usual(1000))()
        warm.batch_id = b"warm"
        cluster.ingest(warm)
        for name, make in made:
            batch = make()
            batch.batch_id = name.encode()
            before, size = _held(), batch.ByteSize()
            try:
                result: Any = cluster.ingest(batch)
                outcome = f"{result.accepted} accepted, {len(result.errors)} + {result.errors_omitted} errors"
            except RouterError as error:
                outcome = error.reason
            _report(name, size, before, outcome)


def main(folder: str, which: str) -> None:
    """Run one set of requests."""
    gc.collect()
    gc.freeze()  # modules: `_held` need not look at them again for each request
    if which == "bodies":
        _run_bodies()
    else:
        _run_batches(Path(folder), known() if which == "known" else drawn(int(which)))


if __name__ == "__main__":
    main(*sys.argv[1:])
