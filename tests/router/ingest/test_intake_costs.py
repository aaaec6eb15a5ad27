"""No request of at most a megabyte may cost more than 200 MB, whatever it stands for; work on one goes in pieces."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import ingest_pb2

from cdp_router.contract.status import describe
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, RequestTooLarge
from cdp_router.ingest.ingest import Ingest
from cdp_router.ingest.result_size import shorten
from cdp_router.limits import ERRORS_TOLD_BYTES, ERRORS_TOLD_MAX, PIECE_RECORDS, ROWS_RECORDS_MAX
from cdp_router.records import columnarised
from cdp_router.records.columnarise import columnarise
from tests.router.encodings import msgpack_batch
from tests.router.intake_costs import columns, same, times, usual
from tests.router.local_cluster import NOW_MS, FixedClock, local_cluster

GROWTH_MAX = 200_000_000
TABLE_BYTES_MAX = 4_000_000  # of the requests that once took a router's memory, one is larger than a megabyte
OUTCOMES = {
    "20 M equal rows": "BATCH_TOO_LARGE",
    "3 M rows": "BATCH_TOO_LARGE",
    "as many rows as may be": "200000 accepted, 0 + 0 errors",
    "dictionary of a list": "20000 accepted, 0 + 0 errors",
    "3.9 M records of nothing": "BATCH_TOO_LARGE",
    "a million records of nothing": "BATCH_TOO_LARGE",
    "as many records of nothing as may be": f"0 accepted, {ERRORS_TOLD_MAX} + {(1 << 18) - ERRORS_TOLD_MAX} errors",
}


def _costs(folder: Path, which: str) -> dict[str, dict[str, Any]]:
    """What each request cost, measured in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.router.intake_costs", str(folder), which], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}


def _check(costs: dict[str, dict[str, Any]]) -> None:
    assert max(each["bytes"] for each in costs.values()) <= TABLE_BYTES_MAX
    assert {name: each["growth"] for name, each in costs.items() if each["growth"] > GROWTH_MAX} == {}


def test_requests_that_stand_for_much_cost_a_cluster_little(tmp_path: Path) -> None:
    costs = _costs(tmp_path, "known")
    _check(costs)
    assert {name: costs[name]["outcome"] for name in OUTCOMES} == OUTCOMES


def test_bodies_that_stand_for_much_cost_a_gateway_little(tmp_path: Path) -> None:
    costs = _costs(tmp_path, "bodies")
    _check(costs)
    assert costs["gzip: lists"]["outcome"] == costs["br"]["outcome"] == "payload_too_large"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 13))
def test_whatever_a_stream_is_made_of_it_costs_little(tmp_path: Path, seed: int) -> None:
    _check(_costs(tmp_path, str(seed)))


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_rows_beyond_what_a_stream_of_its_size_may_stand_for_are_refused_before_they_are_read(
    compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = columns(compression, **usual(1_100_000) if compression else {"user_id": same("u", 9), "time": times(9)})
    if compression is None:
        assert len(columnarise(ingest_pb2.Batch(batch_id=b"x", arrow_columns=stream), NOW_MS).batch) == 9
        return
    monkeypatch.setattr("pyarrow.ipc.open_stream", lambda _: pytest.fail("it was read"))
    with pytest.raises(RequestTooLarge) as caught:
        columnarise(ingest_pb2.Batch(batch_id=b"x", arrow_columns=stream), NOW_MS)
    status = describe(caught.value)
    assert (status.code, "limit" in status.message, "smaller" in status.message) == (3, True, True)


def test_more_records_than_a_batch_of_rows_may_have_are_refused_by_their_number() -> None:
    for count in (ROWS_RECORDS_MAX + 1, 0xFFFFFFFF):
        with pytest.raises(RequestTooLarge, match=str(count)):
            columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=b"\xdd" + count.to_bytes(4, "big")), NOW_MS)
    rows = ingest_pb2.RecordRows(records=[ingest_pb2.Record()] * (ROWS_RECORDS_MAX + 1))
    with pytest.raises(RequestTooLarge):
        columnarise(ingest_pb2.Batch(batch_id=b"x", rows=rows), NOW_MS)


# ----------------------------------------------------------------------------------------------------- errors in number


def test_the_first_errors_are_told_and_the_others_counted_whatever_the_encoding() -> None:
    count = ERRORS_TOLD_MAX + 7
    bad = [["View", "u", None, "never", None, {}]] * count
    good = ["View", "u", None, NOW_MS, None, {}]
    rows = columnarise(msgpack_batch([*bad, good]), NOW_MS)
    nobody = {"user_id": same("null", count), "time": times(count)}
    arrow = columnarise(ingest_pb2.Batch(batch_id=b"x", arrow_columns=columns("zstd", **nobody)), NOW_MS)
    for found in (rows, arrow):
        assert [each.index for each in found.errors] == list(range(ERRORS_TOLD_MAX))
        assert found.errors_omitted == 7
    assert rows.positions.tolist() == [count]


def test_an_answer_about_very_many_records_fits_what_clients_take() -> None:
    errors = [ingest_pb2.RecordError(index=n, code="SCHEMA_VIOLATION", message="é" * 900) for n in range(12_000)]
    result = ingest_pb2.BatchResult(errors=errors, warnings=errors[:50], errors_omitted=3)
    shorten(result)
    assert (len(result.errors), result.errors_omitted) == (ERRORS_TOLD_MAX, 2003)
    assert [each.index for each in result.errors] == list(range(ERRORS_TOLD_MAX))
    assert result.ByteSize() < 2 * ERRORS_TOLD_BYTES
    assert result.warnings[0].message == "é" * 900 and not result.warnings_omitted


# ----------------------------------------------------------------------------------------------------------- in pieces


class _Steps(Executor):
    """Runs work at once and notes how many records each piece of it looked at."""

    def __init__(self, looked_at: Callable[[], int]) -> None:
        self._looked_at, self.pieces = looked_at, list[int]()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before, done = self._looked_at(), Future[Any]()
        try:
            done.set_result(work(*args, **kwargs))
        except (RuntimeError, StopIteration) as error:
            done.set_exception(error)
        self.pieces.append(self._looked_at() - before)
        return done


def _unusual(count: int) -> ingest_pb2.Batch:
    """Records that the kernel leaves to Python."""
    return msgpack_batch([["View", f"u{n}", None, NOW_MS, f"m{n}", {"a": [{"b": n}]}] for n in range(count)])


def test_records_that_python_reads_are_read_in_pieces_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, looked_at, real = 3 * PIECE_RECORDS + 5, list[object](), columnarised.check_row
    monkeypatch.setattr(columnarised, "check_row", lambda row, *rest: looked_at.append(row) or real(row, *rest))
    steps = _Steps(lambda: len(looked_at))
    with local_cluster(tmp_path) as cluster:
        taking = Ingest(cluster.routing, FixedClock(), steps)
        result = cluster.run(taking.ingest(_unusual(count), Deadline.after(60, 60)))
    assert (result.accepted, sum(steps.pieces), max(steps.pieces)) == (count, count, PIECE_RECORDS)


def test_reading_stops_with_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, real = list[object](), columnarised.check_row

    class Passing:
        """A deadline that passes once records have been looked at."""

        at = float("inf")

        def remaining(self) -> float:
            return 0.0 if looked_at else 60.0

    monkeypatch.setattr(columnarised, "check_row", lambda row, *rest: looked_at.append(row) or real(row, *rest))
    with local_cluster(tmp_path) as cluster, ThreadPoolExecutor(1) as threads:
        taking = Ingest(cluster.routing, FixedClock(), threads)
        with pytest.raises(DeadlineMissed):
            cluster.run(taking.ingest(_unusual(4 * PIECE_RECORDS), Passing()))  # type: ignore[arg-type]
    assert len(looked_at) == PIECE_RECORDS


def test_a_caller_that_hangs_up_stops_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, real, calls = list[object](), columnarised.check_row, list[asyncio.Task[Any]]()
    with local_cluster(tmp_path) as cluster, ThreadPoolExecutor(1) as threads:
        taking = Ingest(cluster.routing, FixedClock(), threads)

        async def hang_up() -> None:
            loop = asyncio.get_running_loop()

            def look(row: Any, *rest: Any) -> Any:
                if len(looked_at) == PIECE_RECORDS // 2:
                    loop.call_soon_threadsafe(calls[0].cancel)
                looked_at.append(row)
                return real(row, *rest)

            monkeypatch.setattr(columnarised, "check_row", look)
            calls.append(loop.create_task(taking.ingest(_unusual(4 * PIECE_RECORDS), Deadline.after(60, 60))))
            with pytest.raises(asyncio.CancelledError):
                await calls[0]

        cluster.run(hang_up())
    assert len(looked_at) <= PIECE_RECORDS
