"""Raw records in order of arrival: what the oracle answers from and what the tests feed to partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Value = Any  # bool, int, float, str, aware datetime, or a list of these


class User(NamedTuple):
    """A canonical identifier."""

    kind: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user did; a property that is None is not set."""

    user: User
    name: str
    ts: int
    properties: Mapping[str, Value | None] = field(default_factory=dict)
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Attributes set, or with None unset, at one time."""

    user: User
    ts: int
    attributes: Mapping[str, Value | None] = field(default_factory=dict)
    message_id: str = ""


Record = Event | Change


def user(identifier: str) -> User:
    """A user known by user_id."""
    return User("user_id", identifier)


def anonymous(identifier: str) -> User:
    """A user known by anonymous_id only."""
    return User("anonymous_id", identifier)
