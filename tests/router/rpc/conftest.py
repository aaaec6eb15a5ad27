"""What all tests of calls share."""

from __future__ import annotations

import pytest

from cdp_router.rpc import pipe_frames


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a pipe is proven in time; a test of what is late sets its own time."""
    monkeypatch.setattr(pipe_frames, "PROOF_SECONDS", 60.0)
