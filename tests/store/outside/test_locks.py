"""Locks between processes: one holds each, and it is free once its descriptor is closed."""

from __future__ import annotations

import os
from pathlib import Path

from cdp_store.outside.locks import file_locked, folder_locked, try_file_lock


def test_a_file_lock_is_held_once_and_free_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    held = try_file_lock(path)
    assert held is not None and (path.stat().st_mode & 0o777) == 0o600
    assert try_file_lock(path) is None
    os.close(held)
    with file_locked(path):
        assert try_file_lock(path) is None
    again = try_file_lock(path)
    assert again is not None
    os.close(again)


def test_no_descriptor_is_left_where_another_one_holds_the_lock(tmp_path: Path) -> None:
    with file_locked(tmp_path / "LOCK"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert try_file_lock(tmp_path / "LOCK") is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_child_process_does_not_inherit_a_lock(tmp_path: Path) -> None:
    with folder_locked(tmp_path), file_locked(tmp_path / "LOCK") as descriptor:
        assert not os.get_inheritable(descriptor)
