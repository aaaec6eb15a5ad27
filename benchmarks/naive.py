"""The suite evaluated in plain Python, user by user, as the segment semantics are written: slow, and the judge.

It shares neither SQL nor vectorised code with the other engines, so it is a second road to every answer; it is meant
for the smoke scale.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from platform import python_version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dataset import Dataset
from benchmarks.scales import HOUR_MS, WEEK_MS
from benchmarks.timings import Inner
from benchmarks.windows import FUNNEL_WITHIN, LAST_7D, LAST_30D, LAST_90D, RETENTION_WEEKS, THEN, THEN_LAST_30D, T

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Event:
    ts: int
    properties: dict[str, Any]


@dataclass(slots=True)
class _User:
    user_id: str
    set_at: int
    attributes: dict[str, Any]
    changes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    events: dict[str, list[_Event]] = field(default_factory=lambda: defaultdict(list))

    def created(self) -> int:
        return min([self.set_at, *(event.ts for events in self.events.values() for event in events)])

    def attribute(self, name: str, at: int = T) -> Any:
        value = self.attributes[name] if self.set_at <= at else None
        for time, changed in self.changes:
            if time <= at and name in changed:
                value = changed[name]
        return value

    def matching(self, name: str, after: int | None = None, until: int = T) -> list[_Event]:
        return [e for e in self.events.get(name, ()) if e.ts <= until and (after is None or e.ts > after)]

    def did(self, name: str, after: int | None = None, until: int = T) -> bool:
        return bool(self.matching(name, after, until))

    def days(self, name: str, after: int) -> int:
        return len({_instant(event.ts).date() for event in self.matching(name, after)})

    def total(self, name: str, after: int, category: str | None = None) -> float:
        events = self.matching(name, after)
        kept = [event for event in events if category in (None, event.properties["category"])]
        amounts: list[float | None] = [event.properties["amount"] for event in kept]
        return sum(amount for amount in amounts if amount is not None)

    def steps_reached(self, names: tuple[str, ...], within: int, after: int) -> int:
        """Deepest step over all attempts: for a fixed start, the earliest next event is never a worse choice."""
        return max((self._attempt(names, start.ts, within) for start in self.matching(names[0], after)), default=0)

    def _attempt(self, names: tuple[str, ...], start: int, within: int) -> int:
        at, depth = start, 1
        for name in names[1:]:
            nexts = [event.ts for event in self.matching(name) if at <= event.ts <= start + within]
            if not nexts:
                break
            at, depth = min(nexts), depth + 1
        return depth


class NaiveEngine:
    """Keeps one Python object per user and event."""

    name = "naive"
    version = python_version()
    memory_bytes = 0
    inner: Inner | None = None

    def __init__(self) -> None:
        self._users: list[_User] = []

    def load(self, dataset: Dataset) -> None:
        """Read all rows into Python objects."""
        by_id = {}
        for row in _rows([dataset.profiles]):
            user_id, set_at = row.pop("user_id"), row.pop("set_at")
            by_id[user_id] = _User(user_id, set_at, row)
        for row in _rows([dataset.changes]):
            by_id[row.pop("user_id")].changes.append((row.pop("time"), row))
        for row in _rows(dataset.event_parts):
            by_id[row.pop("user_id")].events[row.pop("event")].append(_Event(row.pop("ts"), row))
        for user in by_id.values():
            user.changes.sort(key=lambda change: change[0])
        self._users = list(by_id.values())

    def run(self, query_name: str) -> Any:
        """Evaluate one query over all users."""
        return _EVALUATORS[query_name](self._users)

    def close(self) -> None:
        """Forget the users."""
        self._users = []


def _rows(paths: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows of Parquet files with times as whole milliseconds."""
    for path in paths:
        table = pq.read_table(path)
        for index, column in enumerate(table.schema):
            if pa.types.is_timestamp(column.type):
                table = table.set_column(index, column.name, table[column.name].cast(pa.int64()))
        for batch in table.to_batches(max_chunksize=65_536):
            yield from batch.to_pylist()


def _instant(ts: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ts)


def _counting(member: Callable[[_User], bool]) -> Callable[[list[_User]], int]:
    return lambda users: sum(1 for user in users if user.created() <= T and member(user))


def _attr_filter(user: _User) -> bool:
    age = user.attribute("age")
    return (
        user.attribute("plan") in ("gold", "platinum")
        and user.attribute("country") == "IN"
        and age is not None
        and 30 <= age <= 40
        and user.attribute("ltv") is not None
    )


def _first_time(user: _User) -> bool:
    times = [event.ts for event in user.matching("Charged")]
    return bool(times) and LAST_30D < min(times) <= T


def _funnel(*names: str) -> Callable[[list[_User]], list[int]]:
    def evaluate(users: list[_User]) -> list[int]:
        depths = Counter(user.steps_reached(names, FUNNEL_WITHIN, LAST_90D) for user in users)
        return [sum(depths[d] for d in range(step, len(names) + 1)) for step in range(1, len(names) + 1)]

    return evaluate


def _sequence(user: _User) -> bool:
    steps = ("Product Viewed", "Added To Cart", "Charged")
    return user.steps_reached(steps, HOUR_MS, LAST_90D) == len(steps)


def _retention(users: list[_User]) -> list[list[Any]]:
    cohorts: dict[str, list[Any]] = {}
    for user in users:
        entries = user.matching("App Launched", LAST_90D)
        if not entries:
            continue
        entry = min(event.ts for event in entries)
        day = _instant(entry).date()
        monday = (day - timedelta(days=day.weekday())).isoformat()
        row = cohorts.setdefault(monday, [monday, 0, *[0] * RETENTION_WEEKS])
        row[1] += 1
        for week in range(RETENTION_WEEKS):
            start = entry + week * WEEK_MS
            row[2 + week] += any(start <= event.ts < start + WEEK_MS for event in user.matching("Charged"))
    return list(cohorts.values())


def _trend(users: list[_User]) -> list[list[Any]]:
    totals, uniques = Counter[str](), Counter[str]()
    for user in users:
        days = Counter(_instant(event.ts).date().isoformat() for event in user.matching("Charged", LAST_90D))
        totals.update(days)
        uniques.update(days.keys())
    return [[day, totals[day], uniques[day]] for day in totals]


def _breakdown(users: list[_User]) -> list[tuple[str, int]]:
    members = [user for user in users if len(user.matching("Product Viewed", LAST_30D)) >= 3]
    values = Counter(user.attribute("country") for user in members)
    return [("(none)" if value is None else value, count) for value, count in values.items()]


def _as_of(users: list[_User]) -> int:
    universe = [user for user in users if user.created() <= THEN]
    return sum(
        1
        for user in universe
        if user.attribute("plan", THEN) != "free" and not user.did("Charged", THEN_LAST_30D, THEN)
    )


def _members(users: list[_User]) -> list[str]:
    return [user.user_id for user in users if len(user.matching("App Launched", LAST_30D)) >= 3]


def _deep_boolean(user: _User) -> bool:
    age, ltv, email = (user.attribute(name) for name in ("age", "ltv", "email"))
    valuable = (
        user.attribute("plan") in ("gold", "platinum", "enterprise")
        or (ltv is not None and ltv > 500.005)
        or "vip" in (user.attribute("tags") or ())
    )
    buying = (
        len(user.matching("Charged", LAST_30D)) >= 2
        or user.total("Charged", LAST_90D) > 250.005
        or (user.did("Added To Cart", LAST_7D) and not user.did("Charged", LAST_7D))
    )
    active = user.days("App Launched", LAST_30D) >= 2 or len(user.matching("Searched")) >= 5
    reachable = user.attribute("country") != "US" and not (age is not None and age < 18)
    return valuable and reachable and buying and active and not (email is not None and "zz" in email)


_EVALUATORS: dict[str, Callable[[list[_User]], Any]] = {
    "attr_filter": _counting(_attr_filter),
    "string_contains": _counting(lambda user: "x9" in (user.attribute("email") or "")),
    "recent_count": _counting(lambda user: len(user.matching("Charged", LAST_30D)) >= 3),
    "alltime_count": _counting(lambda user: len(user.matching("App Launched")) >= 10),
    "filtered_sum": _counting(lambda user: user.total("Charged", LAST_90D, "c07") > 100.005),
    "did_and_not": _counting(
        lambda user: (
            user.did("Product Viewed", LAST_30D)
            and not user.did("Charged", LAST_30D)
            and user.attribute("plan") == "gold"
        )
    ),
    "first_time_30d": _counting(_first_time),
    "distinct_days": _counting(lambda user: user.days("App Launched", LAST_30D) >= 5),
    "funnel3": _funnel("Product Viewed", "Added To Cart", "Charged"),
    "funnel5": _funnel("App Launched", "Searched", "Product Viewed", "Added To Cart", "Charged"),
    "sequence_leaf": _counting(_sequence),
    "retention_weekly": _retention,
    "trend_daily_uniques": _trend,
    "breakdown": _breakdown,
    "as_of": _as_of,
    "members_export": _members,
    "deep_boolean": _counting(_deep_boolean),
}
