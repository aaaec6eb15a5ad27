"""The simulation tells when a protection of the store is taken out; `python -m tests.planted_faults`: how soon."""

from __future__ import annotations

import pytest

from tests.planted_faults import FAULTS, schedules_to_find


def test_every_planted_fault_is_a_fault() -> None:
    assert len(FAULTS) == 17


@pytest.mark.parametrize("name", ["log is not synced", "torn tail stays", "message ids are forgotten by snapshots"])
def test_it_is_found(name: str) -> None:
    assert schedules_to_find(FAULTS[name], first=1, most=200) is not None


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_it_is_found_in_some_thousand_schedules(name: str) -> None:
    assert schedules_to_find(FAULTS[name], first=1) is not None
