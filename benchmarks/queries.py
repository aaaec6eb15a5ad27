"""The questions: in words, in our text form, and what kind of answer each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.answers import AnswerKind
from benchmarks.scales import AS_OF_MS, DAY_MS

SIXTY_DAYS_AGO_MS: Final = AS_OF_MS - 60 * DAY_MS


@dataclass(frozen=True, slots=True)
class Query:
    """One question of the suite; peers keep their form of it under the same name."""

    name: str
    question: str
    ours: str
    kind: AnswerKind = AnswerKind.COUNT
    behavioural: bool = True
    by: str | None = None
    """Attribute by whose values the segment's members are counted."""
    as_of_ms: int = AS_OF_MS


_ATTRIBUTES = (
    Query(
        "attr_filter",
        "How many profiles on plan gold or platinum, in India, aged 30 to 40, have a lifetime value?",
        'plan in ["gold", "platinum"] and country = "IN" and age between 30 and 40 and exists(ltv)',
        behavioural=False,
    ),
    Query(
        "string_contains",
        "How many profiles have x9 somewhere in their e-mail address?",
        'email contains "x9"',
        behavioural=False,
    ),
)

_COUNTS = (
    Query(
        "recent_count",
        "How many users were charged at least three times in the last 30 days?",
        'count("Charged", last: 30d) >= 3',
    ),
    Query(
        "alltime_count",
        "How many users have launched the app at least ten times, ever?",
        'count("App Launched") >= 10',
    ),
    Query(
        "filtered_sum",
        "How many users spent more than 100 on category c07 in the last 90 days?",
        'sum("Charged".amount, category = "c07", last: 90d) > 100.005',
    ),
    Query(
        "did_and_not",
        "How many gold users viewed a product in the last 30 days but were not charged?",
        'did("Product Viewed", last: 30d) and not did("Charged", last: 30d) and plan = "gold"',
    ),
    Query(
        "first_time_30d",
        "How many users were charged for the first time ever in the last 30 days?",
        'first_time("Charged", last: 30d)',
    ),
    Query(
        "distinct_days",
        "How many users launched the app on at least five different days of the last 30?",
        'days("App Launched", last: 30d) >= 5',
    ),
)

_ORDERED = (
    Query(
        "funnel3",
        "How many users viewed, added to cart, and were charged within seven days, entering in the last 90 days?",
        'funnel("Product Viewed" -> "Added To Cart" -> "Charged", within: 7d, last: 90d)',
        AnswerKind.FUNNEL,
    ),
    Query(
        "funnel5",
        "How many users went from launch through search, view and cart to a charge within seven days, in 90 days?",
        'funnel("App Launched" -> "Searched" -> "Product Viewed" -> "Added To Cart" -> "Charged", '
        "within: 7d, last: 90d)",
        AnswerKind.FUNNEL,
    ),
    Query(
        "sequence_leaf",
        "How many users viewed, added to cart and were charged inside one hour, in the last 90 days?",
        'sequence("Product Viewed" -> "Added To Cart" -> "Charged", within: 1h, last: 90d)',
    ),
)

_REPORTS = (
    Query(
        "retention_weekly",
        "Of the users of each week's first launches, how many were charged in each of the eight weeks that followed?",
        'retention("App Launched", return: "Charged", unit: week, periods: 8, last: 90d)',
        AnswerKind.TABLE,
    ),
    Query(
        "trend_daily_uniques",
        "How many charges, by how many users, on each of the last 90 days?",
        'trend("Charged", unit: day, last: 90d)',
        AnswerKind.TABLE,
    ),
    Query(
        "breakdown",
        "From which countries are the users who viewed at least three products in the last 30 days?",
        'count("Product Viewed", last: 30d) >= 3',
        AnswerKind.TABLE,
        by="country",
    ),
)

_WHOLE = (
    Query(
        "as_of",
        "Sixty days ago, how many profiles were not on the free plan and had not been charged for 30 days?",
        'plan != "free" and not did("Charged", last: 30d)',
        as_of_ms=SIXTY_DAYS_AGO_MS,
    ),
    Query(
        "members_export",
        "Who launched the app at least three times in the last 30 days?",
        'count("App Launched", last: 30d) >= 3',
        AnswerKind.IDS,
    ),
    Query(
        "deep_boolean",
        "How many profiles satisfy twelve conditions on attributes and behaviour at once?",
        '(plan in ["gold", "platinum", "enterprise"] or ltv > 500.005 or tags has "vip")\n'
        'and country != "US" and not (age < 18)\n'
        'and (count("Charged", last: 30d) >= 2\n'
        '     or sum("Charged".amount, last: 90d) > 250.005\n'
        '     or (did("Added To Cart", last: 7d) and not did("Charged", last: 7d)))\n'
        'and (days("App Launched", last: 30d) >= 2 or count("Searched") >= 5)\n'
        'and not (email contains "zz")',
    ),
)

QUERIES: Final[Mapping[str, Query]] = {
    query.name: query for query in (*_ATTRIBUTES, *_COUNTS, *_ORDERED, *_REPORTS, *_WHOLE)
}
"""All seventeen, in the order in which they are run and reported.

Tables: retention_weekly has a row per cohort (ISO date of its Monday, users, returned in week 0 .. 7);
trend_daily_uniques per day (ISO date, events, users); breakdown per value ("(none)" where unset, users).
"""
