"""Caller of a method, as a process knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Use that a key allows; none includes another."""

    INGEST = "ingest"
    QUERY = "query"
    PROFILE_READ = "profile-read"
    ADMIN = "admin"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Principal:
    """The key of a call; no id if no keys are required."""

    key: str
    name: str
    roles: frozenset[Role]
    calls_per_second: float | None = None
    events_per_second: float | None = None


ANYBODY: Final = Principal("", "", frozenset(Role))
