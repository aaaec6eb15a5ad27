"""Seeded events, one day at a time: sessions of power-law users with a daily rhythm and some late arrivals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scales import (
    AS_OF_MS,
    CATEGORIES,
    DAY_MS,
    EVENT_NAMES,
    EVENT_PROPERTIES,
    HISTORY_DAYS,
    HOUR_MS,
    PROPERTIES_OF,
    START_MS,
    Scale,
)
from benchmarks.synthetic_profiles import (
    UTC_MS,
    cumulative_activity,
    set_at_ms,
    user_ids,
    zipf_codes,
)

Array = np.ndarray[Any, np.dtype[Any]]

_DAY_STREAM = 5
_SESSION_EVENTS_MEAN = 5.0
_GAP_MEAN_MS = 90_000.0
_TIE_SHARE = 0.03  # events that share their predecessor's millisecond
_DATE_ONLY_SHARE = 0.01  # events of which only the day is known: they fall on midnight, where windows begin and end
_LATE_SHARE, _LATE_MEAN_MS, _LATE_MAX_MS = 0.01, 12.0 * HOUR_MS, 6.0 * 24 * HOUR_MS
_WEEKDAY_WEIGHTS = np.array([0.95, 0.94, 0.96, 0.98, 1.04, 1.10, 1.03])
_HOUR_WEIGHTS = np.array([3, 2, 1.5, 1, 1, 1.5, 2.5, 4, 5, 5.5, 6, 6, 6.5, 6, 5.5, 5.5, 6, 6.5, 7.5, 8.5, 9, 8.5, 7, 5])
_ORDER_SPACE, _ORDER_STEP = 1_000_000_000_000, 736_338_717
_FIRST_MONDAY_DAYS = 3  # 1970-01-01 was a Thursday

_CARRIES: Final = {name: np.array([name in PROPERTIES_OF[event] for event in EVENT_NAMES]) for name in EVENT_PROPERTIES}


@dataclass(frozen=True, slots=True)
class EventPlan:
    """What all days share: whose users exist when, how active they are, and how many events each day has."""

    seed: int
    set_at: Array
    activity: Array
    day_starts: Array
    """Events before each day, i64[days + 1]."""


def plan_events(scale: Scale, seed: int) -> EventPlan:
    """Spread a scale's events over the days of the history."""
    weekdays = (START_MS // DAY_MS + np.arange(HISTORY_DAYS) + _FIRST_MONDAY_DAYS) % 7
    shares = np.concatenate(([0.0], np.cumsum(_WEEKDAY_WEIGHTS[weekdays])))
    day_starts = np.round(shares / shares[-1] * scale.event_count).astype(np.int64)
    return EventPlan(seed, set_at_ms(scale, seed), cumulative_activity(scale, seed), day_starts)


def day_events(plan: EventPlan, day: int) -> tuple[pa.Table, Array]:
    """The events that began on a day, and when each arrived (i64 ms); a session may run past midnight."""
    rng = np.random.default_rng([plan.seed, _DAY_STREAM, day])
    serials = np.arange(plan.day_starts[day], plan.day_starts[day + 1])
    day_ms = START_MS + day * DAY_MS
    users, times = _sessions(rng, plan, day_ms, len(serials))
    late = rng.random(len(serials)) < _LATE_SHARE
    delays = np.minimum(HOUR_MS + rng.exponential(_LATE_MEAN_MS, len(serials)), _LATE_MAX_MS)
    return _table(rng, users, times, serials), times + np.where(late, delays, 0.0).astype(np.int64)


def _sessions(rng: np.random.Generator, plan: EventPlan, day_ms: int, count: int) -> tuple[Array, Array]:
    sizes = rng.geometric(1.0 / _SESSION_EVENTS_MEAN, count // 2 + 16)
    session = np.searchsorted(np.cumsum(sizes), np.arange(count), side="right")
    session = np.minimum(session, len(sizes) - 1)
    session_count = int(session[-1]) + 1 if count else 0
    # Only users whose attributes were set before the day began may act on it: set_at <= first event, always.
    known = int(np.searchsorted(plan.set_at, day_ms))
    drawn = rng.random(session_count) * plan.activity[known - 1]
    user_of_session = np.minimum(np.searchsorted(plan.activity[:known], drawn, side="right"), known - 1)
    begins = day_ms + _times_of_day(rng, session_count)
    times = begins[session] + _offsets(rng, session)
    date_only = rng.random(count) < _DATE_ONLY_SHARE
    times = np.where(date_only, times - times % DAY_MS, times)
    return user_of_session[session], np.minimum(times, AS_OF_MS)


def _times_of_day(rng: np.random.Generator, count: int) -> Array:
    cumulative = np.concatenate(([0.0], np.cumsum(_HOUR_WEIGHTS))) / _HOUR_WEIGHTS.sum()
    times: Array = np.interp(rng.random(count), cumulative, np.arange(25) * float(HOUR_MS)).astype(np.int64)
    return times


def _offsets(rng: np.random.Generator, session: Array) -> Array:
    """Milliseconds since the session began, for events grouped by session."""
    gaps = rng.exponential(_GAP_MEAN_MS, len(session)).astype(np.int64) + 1
    gaps[rng.random(len(session)) < _TIE_SHARE] = 0
    opens = np.flatnonzero(np.diff(session, prepend=-1))
    elapsed = np.cumsum(gaps)
    return elapsed - elapsed[opens][session]


def _amounts(rng: np.random.Generator, names: Array) -> Array:
    """Prices with two decimals; what is charged is a whole basket, so a few times dearer."""
    prices = rng.lognormal(3.2, 0.9, len(names))
    return np.round(np.where(names == EVENT_NAMES.index("Charged"), 3.0 * prices, prices), 2)


def _table(rng: np.random.Generator, users: Array, times: Array, serials: Array) -> pa.Table:
    count = len(times)
    names = zipf_codes(rng, len(EVENT_NAMES), count, 1.0)
    absent = {name: ~carries[names] for name, carries in _CARRIES.items()}
    categories = zipf_codes(rng, len(CATEGORIES), count, 0.6)
    orders = pa.array((serials * _ORDER_STEP) % _ORDER_SPACE, mask=absent["order_id"]).cast(pa.string())
    return pa.table(
        {
            "user_id": user_ids(users),
            "event": pa.DictionaryArray.from_arrays(pa.array(names), pa.array(EVENT_NAMES)),
            "ts": pa.array(times, UTC_MS),
            "amount": pa.array(_amounts(rng, names), mask=absent["amount"]),
            "category": pa.DictionaryArray.from_arrays(
                pa.array(categories, mask=absent["category"]), pa.array(CATEGORIES)
            ),
            "quantity": pa.array(np.minimum(rng.geometric(0.45, count), 99).astype(np.int32), mask=absent["quantity"]),
            "flag": pa.array(rng.random(count) < 0.3, mask=absent["flag"]),
            "order_id": pc.binary_join_element_wise("order-", pc.utf8_lpad(orders, 12, "0"), ""),
        }
    )
