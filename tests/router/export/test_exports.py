"""Everything exported and imported again: an equal cluster, in every format; nothing half-way."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cdp.v1 import admin_pb2, export_pb2, ingest_pb2
from rich.progress import Progress

from cdp_router.cli.data import importing
from cdp_router.cli.data.row_mapping import ColumnMapping
from cdp_router.cli.data.sources import open_source
from cdp_router.client.export_files import RecordsIncomplete, write_records
from cdp_router.client.table_files import FileFormat
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import Overloaded, ShardUnavailable
from cdp_router.export.exports import Exports
from cdp_router.services import export_service as export_module
from cdp_router.services.export_service import ExportService
from cdp_store.memory.digest import Digest, digest
from cdp_store.reading import everything
from tests.router.encodings import fresh_batch_id, msgpack_batch
from tests.router.fake_shards import FailingShard, call_error
from tests.router.local_cluster import NOW_MS, FixedClock, LocalCluster, far_deadline, local_cluster

DAY_MS = 86_400_000
AT = datetime(2025, 5, 6, 7, 8, 9, 123_000, UTC)
TEXTS = ("", "007", "true", 'say "x",\r\n ü☕', "2025-05-06", "null", "[1]", "=1+1", "'=1")
FORMULAS = ("=cmd|' /C calc'!A0", "@SUM(A1)", "+1+cmd", "-2+3", "'=x", "''-y", "'z", "-5", "+4912345", "＝1+1")
VALUES: Sequence[Any] = (
    True,
    False,
    0,
    (1 << 63) - 1,
    -(1 << 62),
    1.0,
    0.1,
    -0.0,
    1e300,
    AT,
    *TEXTS,
    [],
    ["a", 1, 2.0, None, {"sku": "x", "qty": 2}],
)


def exported(cluster: LocalCluster) -> list[export_pb2.ExportRecordsResponse]:
    async def collect() -> list[export_pb2.ExportRecordsResponse]:
        return [response async for response in Exports(cluster.routing).export(far_deadline())]

    return cluster.run(collect())


def contents(cluster: LocalCluster) -> Digest:
    views = (partition.capture() for server in cluster.servers for partition in server._store.partitions.values())
    return sum(map(digest, views), Digest())


class _Loaded:
    """What `cdp import` sends batches to."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster, self.results = cluster, list[ingest_pb2.BatchResult]()

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        self.results.append(self.cluster.ingest(batch))
        return self.results[-1]


def load(cluster: LocalCluster, paths: Sequence[Path]) -> importing._Loading:
    with Progress(disable=True) as progress, ThreadPoolExecutor(1) as threads:
        loading = importing._Loading(_Loaded(cluster), ColumnMapping(), threads, progress)  # type: ignore[arg-type]
        for path in paths:
            loading.load(open_source(path, None), progress.add_task("", rows=0))
    return loading


def fill(cluster: LocalCluster, seed: int = 1) -> None:
    """Events and attributes of every kind of value, many at one instant, of people with several identifiers."""
    chance = random.Random(seed)
    rows = list[Any]()
    for number in range(400):
        user = f"u{chance.randrange(12)}"
        who = chance.choice(((user, None, {}), (None, f"d-{user}", {}), (None, None, {"email": f"{user}@x.org"})))
        name = chance.choice((None, "View", "Buy it", "Ünï"))
        keys = chance.sample(("plan", "a.b", "odd name", "when"), chance.randrange(4))
        values = {key: chance.choice(VALUES) for key in keys}
        if name is None and values and chance.random() < 0.2:
            values = dict.fromkeys(values)
        elif name is None and chance.random() < 0.3:
            values = {"a": chance.choice((None, {}, {"b": number}, {"c": "x", "d": {"e": number}}))}
        time_ms = NOW_MS - chance.randrange(4) * 20 * DAY_MS - chance.randrange(3)
        rows.append((name, who[0], who[1], time_ms, f"m{number}", values, who[2]))
    for number, risky in enumerate(FORMULAS):
        rows.append((risky, risky, f"d{risky}", NOW_MS - number, f"f{number}", {risky: risky}, {"email": risky}))
        rows.append((None, risky, None, NOW_MS - number, f"a{number}", {risky: risky}, {}))
    for user in range(6):
        rows.append((None, f"u{user}", f"d-u{user}", NOW_MS - DAY_MS, f"link{user}", {}, {"email": f"u{user}@x.org"}))
    for start in range(0, len(rows), 50):
        result = cluster.ingest(msgpack_batch(rows[start : start + 50], fresh_batch_id()))
        assert not result.errors
        if start == 200:
            cluster.seal()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("filled")) as cluster:
        fill(cluster)
        cluster.seal()
        yield cluster


def _check_cells(paths: Sequence[Path]) -> None:
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            cells = {cell for row in csv.reader(file) for cell in row}
        assert not [
            cell for cell in cells if cell[:1] in ("=", "@", "+", "-", "\t", "\r", "＝") and not _is_number(cell)
        ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("file_format", list(FileFormat))
def test_what_is_exported_is_imported_to_an_equal_cluster(
    filled: LocalCluster, file_format: FileFormat, tmp_path: Path
) -> None:
    folder, told = tmp_path / "out", list[int]()
    done = write_records(exported(filled), folder, file_format, told.append)
    assert sum(told) == sum(done.records.values())
    assert done.records["profiles"] == filled.query("everyone").count
    assert min(done.records.values()) > 0
    paths = sorted(folder.iterdir())
    if file_format is FileFormat.CSV:
        _check_cells(paths)
    assert [path.name for path in paths] == [f"{name}.{file_format}" for name in sorted(done.records)]
    with local_cluster(tmp_path / "again") as again:
        loading = load(again, paths)
        assert loading.rejections.counts == {}
        assert loading.accepted == sum(told)
        assert contents(again) == contents(filled)
        for kind, value in (("anonymous_id", "d-u1"), ("email", "u1@x.org")):
            for cluster in (again, filled):
                name = {"anonymous_id": value} if kind == "anonymous_id" else {"other": {"kind": kind, "value": value}}
                assert cluster.profile(**name).identifiers[0].value == "u1"
        # Repeated, it takes nothing twice.
        assert load(again, paths).accepted == 0
        assert contents(again) == contents(filled)


def test_what_is_half_an_export_is_no_folder(filled: LocalCluster, tmp_path: Path) -> None:
    responses = exported(filled)
    assert responses[-1].HasField("end")
    assert len(responses[-1].end.coverage.answered) == responses[-1].end.coverage.total == 4
    with pytest.raises(RecordsIncomplete):
        write_records(responses[:-1], tmp_path / "out", FileFormat.CSV, lambda rows: None)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_fails_half_way_ends_all(tmp_path: Path) -> None:
    failing = dict[int, FailingShard]()

    def wrap(number: int, client: ShardClient) -> FailingShard:
        failing[number] = FailingShard(client)
        return failing[number]

    with local_cluster(tmp_path, wrap) as cluster:
        fill(cluster)
        shard = failing[1]
        shard.error, shard.before, shard.calls = call_error(grpc.StatusCode.UNAVAILABLE), 5, 0
        with pytest.raises(ShardUnavailable):
            exported(cluster)
        shard.error = None
        assert exported(cluster)[-1].HasField("end")


def test_who_is_erased_is_in_no_export(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        fill(cluster)
        request = admin_pb2.EraseProfileRequest(user_id="u1")
        cluster.run(Erasures(cluster.routing, FixedClock()).erase(request, far_deadline()))
        found = b"".join(response.table.arrow for response in exported(cluster))
        assert b"u2" in found and b"u10" in found
        assert b"u1@x.org" not in found


def test_only_so_many_exports_run_at_a_time(filled: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "EXPORTS_OF_ALL_MAX", 1)
    service: Any = ExportService(filled.routing)

    class _Context:
        def time_remaining(self) -> float:
            return 60.0

    async def test() -> None:
        first, second = (service.ExportRecords(export_pb2.ExportRecordsRequest(), _Context()) for _ in range(2))
        await anext(first)
        with pytest.raises(Overloaded):
            await anext(second)
        await first.aclose()
        third = service.ExportRecords(export_pb2.ExportRecordsRequest(), _Context())
        await anext(third)
        await third.aclose()

    filled.run(test())


def test_pages_end_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "PAGE_BYTES", 20_000)
    with local_cluster(tmp_path) as cluster:
        long = [
            (name, "u1", None, NOW_MS, "", {"t": f"{n:04} " + "x" * 4000}) for n in range(100) for name in (None, "E")
        ]
        cluster.ingest(msgpack_batch(long, fresh_batch_id()))
        responses = exported(cluster)
        sizes = [len(response.table.arrow) for response in responses]
        assert max(sizes) < 40_000 and len(sizes) > 40
        write_records(responses, tmp_path / "out", FileFormat.PARQUET, lambda rows: None)
        with local_cluster(tmp_path / "again") as again:
            load(again, sorted((tmp_path / "out").iterdir()))
            assert contents(again) == contents(cluster)


class _Sent:
    """Takes batches and notes how many of them were on their way at once."""

    def __init__(self) -> None:
        self.waiting = self.at_once = 0

    def submit(self, *_: Any) -> _Sent:
        self.waiting += 1
        self.at_once = max(self.at_once, self.waiting)
        return self

    def result(self) -> ingest_pb2.BatchResult:
        self.waiting -= 1
        return ingest_pb2.BatchResult()


HOSTILE = (
    'E","x', "line\nuser_id,victim,2026-03-01,Pay\n", "a\r\nb", "\ufeffE", "nul\0", "=1+1", "'", '"', ",", ";", " ",
    "null", "true", "007", "1e5", "12345678901234567890123", "2026-03-01", "\u2028", "\x85", "\\", '\\"', "☕" * 39,
)  # fmt: skip


@pytest.mark.parametrize("file_format", list(FileFormat))
def test_hostile_ids_names_and_values_come_back_as_they_were(file_format: FileFormat, tmp_path: Path) -> None:
    rows = [
        row
        for number, text in enumerate(HOSTILE)
        for row in (
            (
                text,
                f"u{number}{text}",
                None,
                NOW_MS - number,
                f"e{number}",
                {"p": text, f"k{text}": [text, 1, {"a": text}]},
            ),
            (
                None,
                f"u{number}{text}",
                None,
                NOW_MS - number,
                f"a{number}",
                {f"a{text}": text, "n": 0.1, "i": (1 << 53) + 1},
            ),
        )
    ]
    with local_cluster(tmp_path / "one") as one, local_cluster(tmp_path / "two") as two:
        assert not one.ingest(msgpack_batch(rows, fresh_batch_id())).errors
        write_records(exported(one), tmp_path / "out", file_format, lambda _: None)
        loading = load(two, sorted((tmp_path / "out").iterdir()))
        assert loading.rejections.counts == {}
        assert contents(two) == contents(one)


@pytest.mark.parametrize(("column", "at_once"), [("user_id", 2), ("profile_id", 1)])
def test_batches_of_an_export_go_one_after_the_other(
    column: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_ROWS_PER_BATCH", 1)
    path, sent, client = tmp_path / "rows.csv", _Sent(), SimpleNamespace(ingest=None)
    path.write_text(f"{column},profile_kind,time,event\n" + "u,user_id,2025-01-01,E\n" * 8)
    with Progress(disable=True) as progress:
        loading = importing._Loading(client, ColumnMapping(), sent, progress)  # type: ignore[arg-type]
        loading.load(open_source(path, None), progress.add_task("", rows=0))
    assert (sent.at_once, sent.waiting) == (at_once, 0)
