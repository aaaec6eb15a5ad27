"""What a person said is looked for after an erasure: what nobody else says is nowhere any more, and that is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cdp_router.erasure.erasures
from cdp_store.partition import purging
from tests.router.erasure.test_erasing import erase, left_in_files, one_person_and_others, snapshot
from tests.router.identity.test_moving import rows
from tests.router.ingest.test_quarantine import BAD
from tests.router.ingest.test_schema import charged, checked_cluster
from tests.router.local_cluster import NOW_MS, local_cluster


@pytest.mark.parametrize("is_snapshot", [False, True])
def test_a_receipt_says_what_was_searched_and_what_others_have(tmp_path: Path, is_snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        cluster.ingest(rows([None, "ann-4711", None, NOW_MS - 40, "m30", {"mail": "secret-mail-2"}], batch_id=b"9"))
        if is_snapshot:
            cluster.seal()
            snapshot(cluster)
        receipt = erase(cluster, purge=True)
        # secret-page, [secret-list], home, secret-plan, gold, secret-mail, secret-mail-2
        assert (receipt.values, receipt.values_searched) == (7, 7)
        assert not any(scan.found for scan in receipt.scans) and not left_in_files(tmp_path)
        assert max(scan.shared_values for scan in receipt.scans) >= 1
        assert sum(scan.shared_values for scan in receipt.scans) <= 3, "home and gold are Bob's too"
        again = erase(cluster, purge=True)
        assert (again.values, again.values_searched) == (0, 0)
        without = erase(cluster, value="bob")
        assert (without.values, without.values_searched) == (0, 0), "texts are looked for after a purge only"


def test_what_a_purge_leaves_in_memory_and_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging._Texts, "unreferenced", lambda self, sizes: {})
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        found = [place for scan in erase(cluster, purge=True).scans for place in scan.found]
        for what in ("property page", "property tags", "attribute plan", "attribute mail"):
            assert any(place.endswith(f"values of {what}") for place in found)
        assert any(".parquet" in place for place in found)
        assert not any("friend" in place for place in found), "that is Bob's"


def test_a_log_that_was_forgotten_is_found(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        for shard in (0, 1):
            [segment] = (tmp_path / f"shard-{shard}" / "log").glob("*.cdplog")
            shutil.copy(segment, tmp_path / f"shard-{shard}" / "kept-by-mistake.cdplog")
        receipt = erase(cluster, purge=True)
        assert {place for scan in receipt.scans for place in scan.found} == {"kept-by-mistake.cdplog"}


def test_texts_beyond_what_is_looked_for_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp_router.erasure.erasures, "ERASED_VALUES_MAX", 2)
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        receipt = erase(cluster, purge=True)
        assert (receipt.values, receipt.values_searched) == (6, 2)


def test_what_stands_in_quarantine_is_looked_for_too(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("QUARANTINE"))
        schema.take(BAD)
        receipt = erase(schema.cluster, value="ann", purge=True)
        assert (receipt.values, receipt.values_searched) == (1, 1)
        assert not any(scan.found for scan in receipt.scans)
