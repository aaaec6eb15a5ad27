"""Outcomes of commands in words: counts in the singular, the star of open periods, places that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cdp.v1 import admin_pb2, query_pb2, report_pb2
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.cli.ask.report_tables import report_legend
from cdp_router.client import Client
from cdp_router.printable import count_of


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1_000_000, "1,000,000 events")]
)
def test_one_is_singular(number: int, said: str) -> None:
    assert count_of(number, "event") == said
    assert count_of(number, "batch", "batches") == said.replace("events", "batches").replace("event", "batch")


@pytest.mark.parametrize(
    "arguments",
    [["members", "everyone"], ["members", "everyone", "--format", "csv"], ["profile", "u"]],
)
def test_an_export_into_a_folder_that_is_not_there_says_so_before_it_asks(tmp_path: Path, arguments: list[str]) -> None:
    to = tmp_path / "nowhere" / "out.csv"
    done = CliRunner().invoke(app, ["export", *arguments, "--to", str(to), "--address", "127.0.0.1:1"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert done.stderr == f"error: --to {to}: there is no folder {to.parent}; make it first\n"
    assert not to.parent.exists()


@pytest.mark.parametrize("arguments", [["all"], ["profile", "u", "--format", "parquet"]])
def test_an_export_that_makes_a_folder_makes_its_parents_too(tmp_path: Path, arguments: list[str]) -> None:
    to = tmp_path / "nowhere" / "out"
    done = CliRunner().invoke(app, ["export", *arguments, "--to", str(to), "--address", "127.0.0.1:1"])
    assert "no cluster answers" in done.stderr


def test_an_export_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    to = tmp_path / "file" / "out"
    done = CliRunner().invoke(app, ["export", "all", "--to", str(to), "--address", "127.0.0.1:1"])
    assert done.stderr == f"error: --to {to}: {to.parent} is not a folder\n"


def test_a_copied_snapshot_is_said_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [admin_pb2.ShardSnapshot(shard=0, number=3, files_written=1, files_shared=2)]
    monkeypatch.setattr(Client, "snapshot", lambda *_: admin_pb2.CreateSnapshotResponse(shards=shards))
    said = CliRunner().invoke(app, ["snapshot", "--to", "backups"]).stdout
    assert "1 file, 0.0 MB" in said and "2 files, 0.0 MB" in said
    assert said.endswith("\ncopied to backups, as seen from each shard\n")
    assert "copied" not in CliRunner().invoke(app, ["snapshot"]).stdout


def _trend(*incomplete: bool) -> query_pb2.QueryResponse:
    rows = [report_pb2.TrendRow(label="2026-01", events=1, users=1, incomplete=each) for each in incomplete]
    return query_pb2.QueryResponse(trend=report_pb2.TrendReport(rows=rows))


def _retention(complete: int) -> query_pb2.QueryResponse:
    row = report_pb2.RetentionRow(label="2026-01", users=2, returned=[1, 1], complete_periods=complete)
    return query_pb2.QueryResponse(retention=report_pb2.RetentionReport(rows=[row]))


def test_a_star_in_a_table_has_a_legend() -> None:
    assert (
        report_legend(_trend(False, True)) == "* incomplete: the window or the instant of the question cuts the period"
    )
    assert report_legend(_retention(1)) == "* incomplete: the period is not over yet for every user of the row"


def test_a_table_without_a_star_has_none() -> None:
    no_star = [_trend(False), _trend(), _retention(2), query_pb2.QueryResponse(count=1)]
    no_star += [query_pb2.QueryResponse(flow=report_pb2.FlowReport(incomplete=3))]
    assert [report_legend(answer) for answer in no_star] == [""] * len(no_star)
