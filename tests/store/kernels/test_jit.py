"""Where compiled kernels are kept."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize("changed", ["compiled/kernels", "kernels"])
def test_a_kernel_is_compiled_again_when_one_that_it_may_call_changes(tmp_path: Path, changed: str) -> None:
    for room in ("compiled/kernels", "kernels"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "own").with_suffix(".py").write_text("one")
    before = content_stamp.__wrapped__(tmp_path / "compiled/kernels")
    (tmp_path / changed / "own").with_suffix(".py").write_text("other")
    assert content_stamp.__wrapped__(tmp_path / "compiled/kernels") != before


def test_kernels_call_only_those_that_their_stamp_covers() -> None:
    root = FOLDER.parents[1]
    imported = re.compile(r"^from (cdp_\w+(?:\.\w+)*)\.kernels\b", re.MULTILINE)
    for folder in (FOLDER, root / "cdp_query/kernels", root / "cdp_query/compiled/kernels"):
        own = ".".join(folder.parent.relative_to(root).parts)
        beside = ".".join(folder.parents[1].relative_to(root).parts) if folder.parents[1] != root else own
        for source in folder.glob("*.py"):
            assert set(imported.findall(source.read_text())) <= {own, beside, "cdp_store"}, source


def test_each_kernel_has_files_of_its_own() -> None:
    first, second = (
        jit.KernelCacheLocator.from_function(each.py_func, hashing.__file__)  # type: ignore[attr-defined]
        for each in (hashing.hash_strings, hashing.hash_ids)
    )
    assert first is not None and second is not None
    assert first.get_cache_path() == second.get_cache_path()
    assert first.get_disambiguator() != second.get_disambiguator()
