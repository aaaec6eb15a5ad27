"""Random records and contexts, small and crowded: few users, few names, many ties, edges on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from cdp_query import tree
from cdp_store.limits import BUCKET_MS
from tests.raw_records import Change, Event, Record, anonymous, user

DAY_MS = 86_400_000
# The border between two buckets that lies in early 2026, so that months, days and buckets all change nearby.
BORDER_MS = (
    (datetime(2026, 1, 15, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC))
    // timedelta(milliseconds=BUCKET_MS)
    * BUCKET_MS
)

USERS = (user("ann"), user("bob"), user("čen"), user("dee"), anonymous("ann"), anonymous("x1"))
EVENT_NAMES = ("View", "Buy", 'Sign "up"')
PROPERTY_NAMES = ("amount", "item.größe", "odd name", "place.lat", "place.lon")
ATTRIBUTE_NAMES = ("plan", "tags", "since", "and", "home.lat", "home.lon")
UNKNOWN_NAME = "never seen"

TIMES = (
    BORDER_MS,
    BORDER_MS - 1,
    BORDER_MS + 1,
    BORDER_MS + BUCKET_MS - 1,
    BORDER_MS + BUCKET_MS,
    BORDER_MS - BUCKET_MS,
    *(BORDER_MS + hours * 3_600_000 for hours in (1, 2, 23, 24, 25, 48, 24 * 7, 24 * 31)),
    1_774_745_999_999,
    1_774_746_000_000,  # 29 March 2026, 01:00 UTC: summer time starts in Berlin
    1_772_953_200_000,  # 8 March 2026, 07:00 UTC: summer time starts in New York
    0,
    -1,
    -BUCKET_MS - 1,
    951_782_400_000,  # 29 February 2000
)
NUMBERS = (
    0,
    1,
    2,
    3,
    -1,
    -7,
    255,
    256,
    70_000,
    2**32 + 1,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    0.0,
    -0.0,
    0.1,
    0.2,
    0.3,
    0.5,
    1.0,
    2.5,
    12.95,
    -7.25,
    1e-7,
    1e16,
    1e16 + 2,
    float(2**53),
    5e-324,
)
EXTREME_NUMBERS = (2**63 - 1, -(2**63), 2**62, 2**63 - 2, 1e300, -1e300, 9.3e18)
VERSIONS = ("5", "5.10.0", "v5.9 beta", "5.x")
TEXTS = ("", "a", "gold", "Gold", "golden", "größe", "GRÖßE", "a.b", "日本", "x\ny", 'say "hi"', *VERSIONS)
DEGREES = (0, 13, 52.5, -33.25, 90.0, 179.5, -180, 95)
MOMENT_VALUES = tuple(
    datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) for ms in (0, -1, *TIMES[:6], TIMES[-1])
)
TYPICAL = {
    "amount": "number",
    "item.größe": "text",
    "odd name": "list",
    "plan": "text",
    "tags": "list",
    "since": "time",
    "and": "number",
    **dict.fromkeys(("place.lat", "place.lon", "home.lat", "home.lon"), "degrees"),
}
POOLS = {"number": NUMBERS, "degrees": DEGREES, "text": TEXTS, "time": MOMENT_VALUES, "flag": (False, True)}
MOMENTS = tuple(
    map(
        tree.Moment,
        (
            "2026-01-15",
            "2026-01-16",
            "1970-01-01",
            "2026-03-29",
            "2000-02-29",
            "2026-01-15T00:00",
            "2026-01-15T00:00:00Z",
            "2026-01-15T01:00:00.001+05:30",
            "2026-03-29T02:30",
        ),
    )
)
PATTERNS = ("^a", "l+d", "o.d", "", "e$", "[0-9]", "ö", "(?:gold|a.b)")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


def one_of(*choices: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the choices, each as likely as often as it is named; st.one_of counts repetitions once."""
    return st.sampled_from(choices).flatmap(lambda choice: choice)


@cache
def moments() -> st.SearchStrategy[int]:
    """Event times: mostly one of a few, so that ties are common."""
    near = st.integers(BORDER_MS - 2 * BUCKET_MS, BORDER_MS + 2 * BUCKET_MS)
    return st.one_of(st.sampled_from(TIMES), st.sampled_from(TIMES[:8]), near)


@cache
def scalars() -> st.SearchStrategy[Any]:
    """Values of every scalar kind."""
    return st.sampled_from((*NUMBERS, *TEXTS, False, True, *MOMENT_VALUES))


@cache
def values() -> st.SearchStrategy[Any]:
    """Values of every kind, or None for unset."""
    return st.one_of(scalars(), st.lists(scalars(), max_size=3), st.none())


@cache
def events() -> st.SearchStrategy[Event]:
    """Events with mixed-type properties."""
    properties = st.dictionaries(st.sampled_from(PROPERTY_NAMES), values(), max_size=3)
    return st.builds(Event, st.sampled_from(USERS), st.sampled_from(EVENT_NAMES), moments(), properties)


@cache
def changes() -> st.SearchStrategy[Change]:
    """Attribute changes, unsets among them; an empty one only creates the profile."""
    value = st.one_of(values(), st.sampled_from(EXTREME_NUMBERS))  # nothing adds attributes up
    attributes = st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES), value, max_size=3)
    return st.builds(Change, st.sampled_from(USERS), moments(), attributes)


@cache
def records(most: int = 60) -> st.SearchStrategy[list[Record]]:
    """Records in order of arrival, which is not the order of their times.

    Either a few drawn one by one, which shrink well, or the first of a random series, which are many and cheap.
    """
    few = st.lists(st.one_of(events(), changes()), max_size=12)
    counts = st.sampled_from((8, most // 2, most, most))
    many = st.builds(lambda seed, count: random_records(Random(seed), count), st.integers(0, 2**32), counts)
    return one_of(few, many, many, many)


def random_records(random: Random, count: int) -> list[Record]:
    """The first records of a series; most values have the type that is typical of their name."""
    return [_random_record(random) for _ in range(count)]


def _random_record(random: Random) -> Record:
    near = random.randrange(BORDER_MS - 2 * BUCKET_MS, BORDER_MS + 2 * BUCKET_MS)
    ts = random.choice((random.choice(TIMES[:8]), random.choice(TIMES), near))
    who = random.choice(USERS)
    if random.random() < 0.3:
        return Change(who, ts, _random_values(random, ATTRIBUTE_NAMES))
    return Event(who, random.choice(EVENT_NAMES), ts, _random_values(random, PROPERTY_NAMES))


def _random_values(random: Random, names: Sequence[str]) -> dict[str, Any]:
    return {name: _random_value(random, name) for name in names if random.random() < 0.6}


def _random_value(random: Random, name: str) -> Any:
    if random.random() < 0.1:
        return None
    kind = TYPICAL[name] if random.random() < 0.8 else random.choice(("number", "text", "time", "flag", "list"))
    if kind == "list":
        return [random.choice((*TEXTS[:4], *NUMBERS[:4], *MOMENT_VALUES[:1], True)) for _ in range(random.randrange(4))]
    return random.choice(POOLS[kind])


@cache
def contexts() -> st.SearchStrategy[tree.Context]:
    """As-of instants behind, inside and before the data, in several time zones."""
    behind = st.sampled_from((BORDER_MS + 3 * BUCKET_MS, BORDER_MS + 40 * DAY_MS))
    instants = one_of(*[behind] * 6, st.sampled_from(TIMES[:14]), moments(), st.just(-2 * BUCKET_MS))
    return st.builds(tree.Context, instants, st.sampled_from(ZONES), st.sampled_from((True, True, True, False)))
