"""Random records, questions and contexts, small and crowded: few users, few names, many ties, edges on purpose."""

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
VERSIONS = ("5", "5.10.0", "v5.9 beta")
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
ONLY_IN_EXPRESSIONS = (
    tree.Measured.DAYS,
    tree.Measured.STREAK,
    tree.Measured.DISTINCT,
    tree.Measured.MEDIAN,
    tree.Measured.P95,
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


def _one_of(*choices: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the choices, each as likely as often as it is named; st.one_of counts repetitions once."""
    return st.sampled_from(choices).flatmap(lambda choice: choice)


def moments() -> st.SearchStrategy[int]:
    """Event times: mostly one of a few, so that ties are common."""
    near = st.integers(BORDER_MS - 2 * BUCKET_MS, BORDER_MS + 2 * BUCKET_MS)
    return st.one_of(st.sampled_from(TIMES), st.sampled_from(TIMES[:8]), near)


def scalars() -> st.SearchStrategy[Any]:
    """Values of every scalar kind."""
    return st.sampled_from((*NUMBERS, *TEXTS, False, True, *MOMENT_VALUES))


def values() -> st.SearchStrategy[Any]:
    """Values of every kind, or None for unset."""
    return st.one_of(scalars(), st.lists(scalars(), max_size=3), st.none())


def events() -> st.SearchStrategy[Event]:
    """Events with mixed-type properties."""
    properties = st.dictionaries(st.sampled_from(PROPERTY_NAMES), values(), max_size=3)
    return st.builds(Event, st.sampled_from(USERS), st.sampled_from(EVENT_NAMES), moments(), properties)


def changes() -> st.SearchStrategy[Change]:
    """Attribute changes, unsets among them; an empty one only creates the profile."""
    value = st.one_of(values(), st.sampled_from(EXTREME_NUMBERS))  # nothing adds attributes up
    attributes = st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES), value, max_size=3)
    return st.builds(Change, st.sampled_from(USERS), moments(), attributes)


def records(most: int = 60) -> st.SearchStrategy[list[Record]]:
    """Records in order of arrival, which is not the order of their times.

    Either a few drawn one by one, which shrink well, or the first of a random series, which are many and cheap.
    """
    few = st.lists(st.one_of(events(), changes()), max_size=12)
    counts = st.sampled_from((8, most // 2, most, most))
    many = st.builds(lambda seed, count: random_records(Random(seed), count), st.integers(0, 2**32), counts)
    return _one_of(few, many, many, many)


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


# ------------------------------------------------------------------------------------------------------------ questions


def contexts() -> st.SearchStrategy[tree.Context]:
    """As-of instants behind, inside and before the data, in several time zones."""
    behind = st.sampled_from((BORDER_MS + 3 * BUCKET_MS, BORDER_MS + 40 * DAY_MS))
    instants = _one_of(*[behind] * 6, st.sampled_from(TIMES[:14]), moments(), st.just(-2 * BUCKET_MS))
    return st.builds(tree.Context, instants, st.sampled_from(ZONES), st.sampled_from((True, True, True, False)))


def literals(kind: str | None = None) -> st.SearchStrategy[tree.Literal]:
    """Literals of one type or of all, taken from the stored values so that they hit."""
    pools: dict[str, Sequence[tree.Literal]] = {
        "number": NUMBERS + EXTREME_NUMBERS,
        "text": TEXTS,
        "time": MOMENTS,
        "flag": (False, True),
    }
    pools["list"] = (*TEXTS[:4], *NUMBERS[:4], True, *MOMENTS[:2])
    return st.sampled_from([literal for pool in pools.values() for literal in pool] if kind is None else pools[kind])


def comparisons() -> st.SearchStrategy[tree.Op]:
    """One of the six operators."""
    return st.sampled_from(tree.Op)


def _literal_lists(kind: str | None) -> st.SearchStrategy[tuple[tree.Literal, ...]]:
    return st.lists(literals(kind), min_size=1, max_size=3).map(tuple)


def _equalities(kind: str | None) -> list[st.SearchStrategy[tree.Condition]]:
    equality = st.sampled_from((tree.Op.EQ, tree.Op.NE))
    return [
        st.builds(tree.Compare, equality, literals(kind), st.booleans()),
        st.builds(tree.OneOf, _literal_lists(kind), st.booleans(), st.booleans()),
        st.builds(tree.Exists, st.booleans()),
    ]


def _number_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    pairs = st.tuples(literals("number"), literals("number")).map(sorted)
    return [
        st.builds(tree.Compare, comparisons(), literals("number")),
        pairs.map(lambda pair: tree.Between(pair[0], pair[1])),
        *_equalities("number"),
    ]


def _time_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    days = st.tuples(st.sampled_from(MOMENTS[:5]), st.sampled_from(MOMENTS[:5])).map(_by_iso)
    return [
        st.builds(tree.Compare, comparisons(), literals("time")),
        st.builds(tree.TimeTest, st.sampled_from(tree.Side), _durations()),
        st.builds(tree.TimeTest, st.sampled_from(tree.Side), _durations("d mo y", 30)),
        anniversaries(),
        days.map(lambda pair: tree.Between(pair[0], pair[1])),
        *_equalities("time"),
    ]


def _text_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    folded = st.sampled_from((tree.TextOp.CONTAINS, tree.TextOp.STARTS_WITH, tree.TextOp.ENDS_WITH))
    matches = st.just(tree.TextOp.MATCHES)
    return [
        st.builds(tree.TextTest, folded, st.sampled_from(TEXTS), st.booleans(), st.booleans()),
        st.builds(tree.VersionTest, comparisons(), st.sampled_from(("5", "5.9.0", "5.10", "0.0.1", "6"))),
        st.builds(tree.TextTest, matches, st.sampled_from(PATTERNS), st.booleans(), st.booleans()),
        *_equalities("text"),
    ]


def _list_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    several = st.sampled_from((tree.ListOp.HAS_ANY, tree.ListOp.HAS_ALL, tree.ListOp.HAS_NONE))
    return [
        st.builds(tree.ListTest, several, _literal_lists("list")),
        st.builds(tree.ListTest, st.just(tree.ListOp.HAS), literals("list").map(lambda literal: (literal,))),
        st.builds(tree.SizeTest, comparisons(), st.integers(-1, 3)),
        *_equalities("list"),
    ]


def conditions(kind: str | None = None) -> st.SearchStrategy[tree.Condition]:
    """Every condition that suits a kind of value, or all of them."""
    forms = {
        "number": _number_conditions,
        "degrees": _number_conditions,
        "time": _time_conditions,
        "text": _text_conditions,
        "list": _list_conditions,
    }
    if kind is not None:
        return st.one_of(forms[kind]())
    return st.one_of([form for several in forms.values() for form in several()] + _equalities(None))


def _by_iso(moments: Sequence[tree.Moment]) -> list[tree.Moment]:
    return sorted(moments, key=lambda moment: moment.iso)


def _durations(units: str = "ms s m h d w mo y", most: int = 40) -> st.SearchStrategy[tree.Duration]:
    return st.builds(tree.Duration, st.integers(0, most), st.sampled_from(units.split()))


def windows(*, always: bool = True) -> st.SearchStrategy[tree.Window]:
    """Every window form with ends in order."""
    dates = st.sampled_from(MOMENTS[:5])
    ordered_dates = st.tuples(dates, dates).map(lambda pair: tree.FromTo(*_by_iso(pair)))
    instants = (
        tree.Moment("2026-01-10T12:00:00Z"),
        tree.Moment("2026-01-15T00:00:00Z"),
        tree.Moment("2026-02-01T00:00"),
    )
    ordered_instants = st.sampled_from([(0, 0), (0, 1), (0, 2), (1, 2)]).map(
        lambda pair: tree.FromTo(instants[pair[0]], instants[pair[1]])
    )
    # Nearer than 20 days on one side, further than 28 on the other: in order whatever the month.
    far = st.one_of(
        _durations("d", 60).map(lambda d: tree.Duration(d.amount + 21, "d")),
        _durations("mo y", 3).map(lambda d: tree.Duration(d.amount + 1, d.unit)),
    )
    units = st.sampled_from(tree.CALENDAR_UNITS)
    forms = [
        ordered_dates,
        ordered_instants,
        st.builds(tree.Before, st.sampled_from(MOMENTS)),
        st.builds(tree.After, st.sampled_from(MOMENTS)),
        st.builds(tree.Last, _durations()),
        st.builds(tree.Last, _durations("w mo y")),
        st.builds(tree.LastCalendar, _durations("d w mo y")),
        st.builds(tree.DaysAgo, st.integers(0, 40)),
        st.builds(tree.Ago, _durations("ms s m h d", 20), far),
        st.builds(tree.MoreThanAgo, _durations()),
        st.builds(tree.This, units),
        st.builds(tree.Previous, units),
    ]
    return _one_of(*[st.just(tree.Always())] * 8 * always, *forms)


@cache
def event_windows(*, always: bool = True) -> st.SearchStrategy[tree.Window]:
    """Windows of predicates over events: those of everybody, and those that differ from user to user."""
    names = st.sampled_from((EVENT_NAMES[:1], EVENT_NAMES[1:], (UNKNOWN_NAME,), (EVENT_NAMES[2],)))
    every = windows(always=always)
    first = st.builds(tree.WithinFirst, _durations("ms h d w"), names)
    since = st.sampled_from((*ATTRIBUTE_NAMES, "since", "since", UNKNOWN_NAME)).map(tree.Since)
    return _one_of(every, every, every, first, since)


def _time_filters() -> st.SearchStrategy[tree.TimeFilter]:
    hours = st.sampled_from(((0, 24), (0, 1), (9, 17), (22, 6), (23, 0), (1, 24), (12, 13)))
    days = st.frozensets(st.integers(1, 7), min_size=1, max_size=5)
    return _one_of(hours.map(lambda pair: tree.HourTest(*pair)), st.builds(tree.WeekdayTest, days))


def filters(depth: int = 2) -> st.SearchStrategy[tree.Node]:
    """Filters on an event's own properties and time."""
    tests = [_tests(tree.PropertyTest, PROPERTY_NAMES)] * 4
    return _combined(_one_of(*tests, distances("place"), _time_filters()), depth)


def _tests(kind: type[Any], names: Sequence[str]) -> st.SearchStrategy[Any]:
    """A condition that suits the name, mostly."""
    suited = [st.builds(kind, st.just(name), conditions(TYPICAL[name])) for name in names]
    return _one_of(*suited, *suited, st.builds(kind, st.sampled_from((*names, UNKNOWN_NAME)), conditions()))


@cache
def event_sets() -> st.SearchStrategy[tree.Events]:
    """E: one or several names, often with a filter."""
    single = [(name,) for name in EVENT_NAMES]
    names = st.sampled_from((*single, EVENT_NAMES[:2], EVENT_NAMES[1:], (UNKNOWN_NAME, "Buy")))
    return st.builds(tree.Events, names, _one_of(st.none(), st.none(), filters()))


def anniversaries() -> st.SearchStrategy[tree.Anniversary]:
    """Ranges of days from T, near, far and longer than a year."""
    ranges = st.sampled_from(((0, 0), (0, 7), (1, 2), (5, 40), (0, 400), (300, 400)))
    days = ranges.map(lambda pair: tree.Anniversary(tree.Duration(pair[0], "d"), tree.Duration(pair[1], "d")))
    return st.one_of(days, st.just(tree.Anniversary(tree.Duration(0, "d"), tree.Duration(2, "w"))))


def distances(name: str) -> st.SearchStrategy[tree.DistanceTest]:
    """Distances between the places that are stored, none of them close to a threshold."""
    latitudes, longitudes = st.sampled_from((0.0, 52.5, -33.25, 90.0)), st.sampled_from((0.0, 13.0, -180.0))
    ops = st.sampled_from((tree.Op.LT, tree.Op.LE, tree.Op.GT, tree.Op.GE))
    metres = st.sampled_from((1.5, 700_000, 5_000_000.5, 11_111_111, 2.1e7))
    return st.builds(tree.DistanceTest, st.just(name), latitudes, longitudes, ops, metres)


def histories() -> st.SearchStrategy[tree.HistoryTest]:
    """was, changed, unchanged and value_at, mostly with values that suit the attribute."""
    return st.sampled_from((*ATTRIBUTE_NAMES, *ATTRIBUTE_NAMES[:4], UNKNOWN_NAME)).flatmap(_histories_of)


def _histories_of(name: str) -> st.SearchStrategy[tree.HistoryTest]:
    kind = TYPICAL.get(name, "text")
    suited, moments_at = conditions(kind), st.one_of(st.sampled_from(MOMENTS), _durations())
    values = _literal_lists("list" if kind == "list" else "number" if kind == "degrees" else kind)
    side = st.one_of(st.none(), st.builds(tree.ChangeSide, values), st.just(tree.ChangeSide()), _unset())
    named = st.just(name)
    return st.one_of(
        st.builds(tree.WasTest, named, suited, windows()),
        st.builds(tree.ChangedTest, named, side, side, windows()),
        st.builds(tree.ChangedTest, named, st.none(), side, st.just(tree.ALWAYS)),
        st.builds(tree.UnchangedTest, named, _durations()),
        st.builds(tree.ValueAtTest, named, moments_at, suited),
    )


def _unset() -> st.SearchStrategy[tree.ChangeSide]:
    return st.just(tree.ChangeSide(unset=True))


def buckets() -> st.SearchStrategy[tree.BucketTest]:
    """A part of the population."""
    return st.sampled_from(((0, 999), (0, 499), (0, 0), (300, 700))).map(lambda pair: tree.BucketTest(*pair))


def _sequences(kind: type[Any]) -> st.SearchStrategy[Any]:
    steps = st.lists(event_sets(), min_size=2, max_size=4).map(tuple)
    within = _one_of(st.none(), _durations("ms h d w w", 9))
    return st.builds(kind, steps, windows(), within, st.booleans())


def funnels() -> st.SearchStrategy[tree.Funnel]:
    """Funnels of two to four steps."""
    return _sequences(tree.Funnel)


def sequences() -> st.SearchStrategy[tree.SequenceTest]:
    """Sequences of two to four steps."""
    return _sequences(tree.SequenceTest)


def _measures(functions: Sequence[tree.Measured]) -> st.SearchStrategy[tree.Measure]:
    plain = [function for function in functions if function not in tree.PROPERTY_MEASURES]
    of_property = [function for function in functions if function in tree.PROPERTY_MEASURES]
    names = st.sampled_from((*PROPERTY_NAMES, "amount", "amount", UNKNOWN_NAME))
    return _one_of(
        st.builds(tree.Measure, st.sampled_from(plain), event_sets(), st.none(), event_windows()),
        st.builds(tree.Measure, st.sampled_from(of_property), event_sets(), names, event_windows()),
    )


def _numbers() -> st.SearchStrategy[tree.Number]:
    return _one_of(st.sampled_from((0, 1, 2, 3, 0.5, 2.0)), literals("number")).map(tree.Number)


def expression_tests() -> st.SearchStrategy[tree.ExpressionTest]:
    """Comparisons in the form in which they are read: one count against a number is a test of its own."""
    measures, only = _measures(tuple(tree.Measured)), _measures(ONLY_IN_EXPRESSIONS)
    operators = st.sampled_from(tree.ArithmeticOp)
    operands = _one_of(measures, _numbers())
    calculated = _one_of(
        st.builds(tree.Arithmetic, operators, measures, operands),
        st.builds(tree.Arithmetic, operators, _numbers(), st.builds(tree.Arithmetic, operators, operands, measures)),
    )
    return _one_of(
        st.builds(tree.ExpressionTest, only, comparisons(), st.sampled_from((0, 1, 2, 3, 2.5)).map(tree.Number)),
        st.builds(tree.ExpressionTest, only, comparisons(), _numbers()),
        st.builds(tree.ExpressionTest, _numbers(), comparisons(), measures),
        st.builds(tree.ExpressionTest, measures, comparisons(), _one_of(measures, calculated)),
        st.builds(tree.ExpressionTest, calculated, comparisons(), _one_of(operands, calculated)),
    )


def _phases() -> st.SearchStrategy[tree.Node]:
    day = tree.Moment("2026-01-15")
    month, week = tree.Duration(30, "d"), tree.Duration(7, "d")
    pairs = (
        (tree.Ago(week, month), tree.Last(week)),
        (tree.MoreThanAgo(month), tree.Last(month)),
        (tree.Before(day), tree.FromTo(day, tree.Moment("2026-01-16"))),
        (tree.Previous("month"), tree.This("month")),
    )
    stopped = st.sampled_from(pairs).flatmap(
        lambda pair: st.builds(tree.StoppedTest, event_sets(), *map(st.just, pair))
    )
    gaps = (tree.Ago(week, month), tree.DaysAgo(3), tree.Previous("week"), tree.FromTo(day, tree.Moment("2026-01-16")))
    return _one_of(
        stopped, st.builds(tree.ResumedTest, event_sets(), st.sampled_from((*gaps, tree.MoreThanAgo(month))))
    )


def _value_tests() -> st.SearchStrategy[tree.Node]:
    kinds = st.sampled_from(
        [(name, kind) for name, kind in TYPICAL.items() if name in PROPERTY_NAMES] * 2 + [("amount", "text")]
    )
    shares = st.sampled_from((0, 1, 0.5, 0.4, 0.25, 1 / 3, 2, -1, 1e300))

    def of(pair: tuple[str, str]) -> st.SearchStrategy[tree.Node]:
        name = st.sampled_from((pair[0], pair[0], pair[0], UNKNOWN_NAME))
        infix = conditions(pair[1]).filter(lambda condition: isinstance(condition, tree.Infix))
        parts = name, event_sets(), event_windows(), infix
        return _one_of(
            st.builds(tree.EdgeValueTest, st.sampled_from(tree.Edge), *parts),
            st.builds(tree.MostlyTest, *parts),
            st.builds(tree.ShareTest, *parts, comparisons(), shares),
        )

    return kinds.flatmap(of)


def _ordinals() -> st.SearchStrategy[tree.Node]:
    quotas = st.sampled_from(((1, 1), (1, 3), (2, 3), (3, 3), (2, 10)))
    units = st.sampled_from(tree.CALENDAR_UNITS)
    regularly = quotas.flatmap(
        lambda quota: st.builds(tree.RegularlyTest, event_sets(), st.integers(1, 3), units, *map(st.just, quota))
    )
    nth = st.builds(tree.NthTest, event_sets(), st.integers(1, 4), _one_of(st.none(), filters(1)), event_windows())
    return _one_of(nth, nth, regularly)


def predicates() -> st.SearchStrategy[tree.Node]:
    """Every leaf of a segment."""
    thresholds = st.sampled_from((-1, 0, 1, 2, 3, 5, 0.5, 2.0))
    names = st.sampled_from((*PROPERTY_NAMES, "amount", "amount", UNKNOWN_NAME))
    attributes = _tests(tree.AttributeTest, ATTRIBUTE_NAMES)
    aggregates = st.builds(
        tree.AggregateTest,
        st.sampled_from(tree.Aggregate),
        names,
        event_sets(),
        event_windows(),
        comparisons(),
        literals("number"),
    )
    return _one_of(
        attributes,
        attributes,
        attributes,
        aggregates,
        aggregates,
        st.builds(tree.Did, event_sets(), event_windows()),
        st.builds(tree.CountTest, event_sets(), event_windows(), comparisons(), thresholds, st.booleans()),
        st.builds(tree.CountTest, event_sets(), event_windows(), comparisons(), thresholds),
        st.builds(tree.OccurrenceTest, st.sampled_from(tree.Occurrence), event_sets(), event_windows(always=False)),
        expression_tests(),
        expression_tests(),
        st.builds(tree.RecencyTest, event_sets(), comparisons(), _durations(), event_windows()),
        st.builds(tree.Inactive, _durations()),
        _phases(),
        _value_tests(),
        _value_tests(),
        _ordinals(),
        sequences(),
        sequences(),
        histories(),
        histories(),
        distances("home"),
        buckets(),
        st.just(tree.Everyone()),
    )


def segments(depth: int = 4) -> st.SearchStrategy[tree.Node]:
    """Segments up to a depth of and, or, not."""
    return _combined(predicates(), depth - 1)


def _combined(leaves: st.SearchStrategy[tree.Node], depth: int) -> st.SearchStrategy[tree.Node]:
    if depth <= 0:
        return leaves
    inner = _combined(leaves, depth - 1)
    groups = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(leaves, st.builds(tree.Not, inner), st.builds(tree.All, groups), st.builds(tree.Any, groups))
