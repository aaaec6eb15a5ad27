"""`cdp warm`: a second process that fails delays the command, and says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cdp_router.cli.cluster import warm_command
from cdp_router.process import warm_up


def test_a_second_process_that_fails_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = list[object]()

    def warm_kernels(_: Callable[[int, int], None], evaluator: Callable[[], object]) -> None:
        ended.append(evaluator())

    monkeypatch.setenv("CDP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(warm_up, "warm_kernels", warm_kernels)
    monkeypatch.setattr(warm_command, "_EVALUATOR", "raise KeyboardInterrupt")
    warm_command.warm_with_progress()
    assert ended and ended != [0]
    assert capfd.readouterr().err == ""
    assert list(tmp_path.glob("warm-*"))
