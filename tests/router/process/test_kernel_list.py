"""The list of kernels that a start loads instead of running the warm-up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A warm-up of one kernel, in a process of its own: which kernels a process has loaded is state of the process.
_PROCESS = """
import json, sys
from pathlib import Path
from cdp_router.process import kernel_list
from cdp_store.columns.arena import hash_strings
from cdp_store.kernels.hashing import hash_strings as kernel
from cdp_store.records.records import Strings
ran = []
def warm_up():
    ran.append("warm-up")
    hash_strings((1, 2), Strings.of([b"a"]))
kernel_list.warm_mark = lambda: Path(sys.argv[1])
if "compiled" in sys.argv:
    kernel.stats.cache_misses["as if"] += 1
kernel_list.load_or_run(warm_up)
print(json.dumps({"ran": ran, "signatures": [str(each) for each in kernel.signatures]}))
"""


def start(mark: Path, *more: str) -> dict[str, Any]:
    """What a process ran, and the signatures of the kernel that it has afterwards."""
    command = [sys.executable, "-c", _PROCESS, str(mark), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """What a start without a list ran, and the list that it wrote."""
    folder = tmp_path_factory.mktemp("first")
    found = start(folder / "warm")
    assert found["ran"] == ["warm-up"] and len(found["signatures"]) == 1
    assert [path.name for path in folder.iterdir()] == ["warm.list"]
    return found, (folder / "warm.list").read_bytes()


def test_a_start_with_a_list_loads_the_same_kernels_without_the_warm_up(
    tmp_path: Path, first: tuple[dict[str, Any], bytes]
) -> None:
    found, whole = first
    (tmp_path / "warm.list").write_bytes(whole)
    assert start(tmp_path / "warm") == {"ran": [], "signatures": found["signatures"]}
    assert [path.name for path in tmp_path.iterdir()] == ["warm.list"]


@pytest.mark.parametrize("change", ["a bit", "the end", "everything"])
def test_a_damaged_list_is_not_loaded_and_is_written_again(
    tmp_path: Path, first: tuple[dict[str, Any], bytes], change: str
) -> None:
    (found, whole), path = first, tmp_path / "warm.list"
    damaged = {"a bit": whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], "the end": whole[:-1], "everything": b""}
    path.write_bytes(damaged[change])
    assert start(tmp_path / "warm") == found
    assert path.read_bytes() == whole


def test_a_process_that_compiled_kernels_lists_nothing(tmp_path: Path) -> None:
    assert start(tmp_path / "warm", "compiled")["ran"] == ["warm-up"]
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert start(tmp_path / "file" / "warm")["ran"] == ["warm-up"]
