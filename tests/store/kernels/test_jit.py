"""Where compiled kernels are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_store.kernels import hashing, jit
from cdp_store.kernels.kernel_cache import content_stamp

FOLDER = Path(jit.__file__).parent


def test_kernels_of_one_folder_are_kept_together_by_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_CACHE_DIR", str(tmp_path))
    found = jit._place.__wrapped__(FOLDER)
    assert found is not None
    path, stamp = found
    assert stamp == content_stamp(FOLDER) and Path(path) == tmp_path / f"cdp_store-{stamp}"
    assert Path(path).is_dir()


def test_a_cache_that_cannot_be_written_is_left_to_numbas_own_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CDP_CACHE_DIR", str(tmp_path / "file" / "kernels"))
    assert jit._place.__wrapped__(FOLDER) is None


def test_kernels_of_other_packages_are_left_alone(tmp_path: Path) -> None:
    assert jit._place.__wrapped__(tmp_path) is None


def test_each_kernel_has_files_of_its_own() -> None:
    first, second = (
        jit.KernelCacheLocator.from_function(each.py_func, hashing.__file__)  # type: ignore[attr-defined]
        for each in (hashing.hash_strings, hashing.hash_ids)
    )
    assert first is not None and second is not None
    assert first.get_cache_path() == second.get_cache_path()
    assert first.get_disambiguator() != second.get_disambiguator()
