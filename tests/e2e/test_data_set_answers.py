"""Questions of every kind over two further real data sets, one of them with days only and so many ties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks.cluster import running_cluster
from cdp_router.client import Client
from tests.e2e.raw_sql import RawSql, ask, breakdown_of, load, member_ids

pytestmark = pytest.mark.long

PROFILES_AT = {"cdnow": "1997-01-01", "online_retail": "2010-12-01"}
END, SPRING, RETAIL_END = "1998-07-01", "1997-04-15", "2011-12-10"

_ORDERS = "SELECT user_id FROM e WHERE event = 'order'"
_PAIRS = """FROM e f JOIN e g ON g.user_id = f.user_id AND g.event = 'order' AND g.n <> f.n
    AND g.ts {later} f.ts WHERE f.event = 'order'"""
_TRIPLES = """SELECT f.user_id FROM e f JOIN e g ON g.user_id = f.user_id AND g.n <> f.n AND g.ts {later} f.ts
    JOIN e h ON h.user_id = f.user_id AND h.n <> g.n AND h.n <> f.n AND h.ts {later} g.ts
    AND h.ts <= f.ts + INTERVAL 7 DAY WHERE f.event = 'order' AND g.event = 'order' AND h.event = 'order'"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as text and, independently, as SQL."""

    name: str
    text: str
    sql: str
    as_of: str
    by: str = ""
    tz: str = "UTC"


QUESTIONS = (
    Asked(
        "ties_in_order",
        'sequence("order" -> "order", within: 0d)',
        f"SELECT f.user_id {_PAIRS.format(later='=')}",
        END,
    ),
    Asked(
        "ties_strict",
        'sequence("order" -> "order", within: 1d, tie: strict)',
        f"SELECT f.user_id {_PAIRS.format(later='>')} AND g.ts <= f.ts + INTERVAL 1 DAY",
        END,
    ),
    Asked(
        "three_steps_with_ties", 'sequence("order" -> "order" -> "order", within: 7d)', _TRIPLES.format(later=">="), END
    ),
    Asked(
        "three_steps_without_ties",
        'sequence("order" -> "order" -> "order", within: 1w, tie: strict)',
        _TRIPLES.format(later=">"),
        END,
    ),
    Asked(
        "filtered_steps_with_ties",
        'sequence("order"(value >= 50) -> "order"(cds = 1), within: 0d)',
        f"""SELECT f.user_id {_PAIRS.format(later="=")} AND (f.p->>'$.value')::DOUBLE >= 50
            AND (g.p->>'$.cds')::BIGINT = 1""",
        END,
    ),
    Asked(
        "none_in_a_window",
        'count("order", last: 90d) = 0',
        f"SELECT user_id FROM u EXCEPT {_ORDERS} AND ts > t() - INTERVAL 90 DAY",
        END,
    ),
    Asked(
        "none_ever",
        'count("return") = 0',
        "SELECT user_id FROM u EXCEPT SELECT user_id FROM e WHERE event = 'return'",
        RETAIL_END,
    ),
    Asked(
        "few_with_zero",
        'count("order", after: 1997-03-31) <= 1',
        f"SELECT user_id FROM u EXCEPT ({_ORDERS} AND ts >= TIMESTAMP '1997-04-01' GROUP BY 1 HAVING count(*) > 1)",
        END,
    ),
    Asked(
        "few_without_zero",
        'count("order", after: 1997-03-31, zero: exclude) <= 1',
        f"{_ORDERS} AND ts >= TIMESTAMP '1997-04-01' GROUP BY 1 HAVING count(*) = 1",
        END,
    ),
    Asked("as_of_spring", 'count("order") >= 2', f"{_ORDERS} GROUP BY 1 HAVING count(*) >= 2", SPRING),
    Asked(
        "as_of_first_day",
        'did("order") and in_sample = true',
        f"{_ORDERS} INTERSECT SELECT user_id FROM u WHERE (a->>'$.in_sample') = 'true'",
        "1997-01-01",
    ),
    Asked(
        "by_flag",
        'sum("order".value, from: 1997-01-01, to: 1997-12-31) >= 200',
        f"""{_ORDERS} AND ts >= TIMESTAMP '1997-01-01' AND ts < TIMESTAMP '1998-01-01'
            GROUP BY 1 HAVING fsum((p->>'$.value')::DOUBLE) >= 200""",
        END,
        by="in_sample",
    ),
    Asked(
        "by_country",
        'did("return", last: 1mo)',
        "SELECT user_id FROM e WHERE event = 'return' AND ts > t() - INTERVAL 1 MONTH",
        RETAIL_END,
        by="country",
    ),
    Asked(
        "by_attribute_most_do_not_have",
        "everyone",
        "SELECT user_id FROM u",
        RETAIL_END,
        by="country",
    ),
    Asked(
        "integer_sum_and_average",
        'sum("order".cds) >= 10 and avg("order".cds) < 3',
        f"""{_ORDERS} AND p->>'$.cds' IS NOT NULL GROUP BY 1
            HAVING sum((p->>'$.cds')::BIGINT) >= 10 AND avg((p->>'$.cds')::BIGINT) < 3""",
        END,
    ),
    Asked(
        "smallest_and_largest",
        'min("order".value) > 30 or max("order".units) >= 5000',
        f"""{_ORDERS} GROUP BY 1 HAVING min((p->>'$.value')::DOUBLE) > 30
            OR max((p->>'$.units')::BIGINT) >= 5000""",
        RETAIL_END,
    ),
    Asked(
        "undefined_is_never_true",
        'max("return".value) != 1',
        "SELECT user_id FROM e WHERE event = 'return' GROUP BY 1 HAVING max((p->>'$.value')::DOUBLE) <> 1",
        RETAIL_END,
    ),
    Asked(
        "first_time_in_dates",
        'first_time("order", from: 1997-02-01, to: 1997-02-28)',
        f"""{_ORDERS} GROUP BY 1 HAVING min(ts) >= TIMESTAMP '1997-02-01' AND min(ts) < TIMESTAMP '1997-03-01'""",
        END,
    ),
    Asked(
        "last_time_in_a_band",
        'last_time("order", ago: 30d..60d)',
        f"""{_ORDERS} GROUP BY 1 HAVING max(ts) > t() - INTERVAL 60 DAY AND max(ts) <= t() - INTERVAL 30 DAY""",
        END,
    ),
    Asked(
        "days_of_another_zone",
        'count("order", from: 1997-03-01, to: 1997-03-01) >= 1',
        f"{_ORDERS} AND ts >= TIMESTAMP '1997-03-01 05:00' AND ts < TIMESTAMP '1997-03-02 05:00'",
        END,
        tz="America/New_York",
    ),
    Asked(
        "days_of_utc",
        'count("order", from: 1997-03-01, to: 1997-03-01) >= 1',
        f"{_ORDERS} AND ts >= TIMESTAMP '1997-03-01' AND ts < TIMESTAMP '1997-03-02'",
        END,
    ),
    Asked(
        "ends_of_a_rolling_window",
        'did("order", last: 1d) and not did("order", more_than_ago: 30d)',
        f"{_ORDERS} AND ts > t() - INTERVAL 1 DAY EXCEPT {_ORDERS} AND ts <= t() - INTERVAL 30 DAY",
        "1997-02-28",
    ),
    Asked(
        "calendar_units",
        'did("order", this: month) and did("order", previous: month)',
        f"""{_ORDERS} AND ts >= date_trunc('month', t()) INTERSECT {_ORDERS} AND ts < date_trunc('month', t())
            AND ts >= date_trunc('month', t()) - INTERVAL 1 MONTH""",
        SPRING,
    ),
    Asked(
        "text_and_complement",
        'country starts_with "united" ci and not (did("return") or country contains "Arab")',
        """SELECT user_id FROM u WHERE lower(a->>'$.country') LIKE 'united%' AND a->>'$.country' NOT LIKE '%Arab%'
            EXCEPT SELECT user_id FROM e WHERE event = 'return'""",
        RETAIL_END,
    ),
    Asked(
        "unequal_includes_unset",
        'country != "United Kingdom" and did("order", last: 2y)',
        f"""SELECT user_id FROM u WHERE a->>'$.country' IS DISTINCT FROM 'United Kingdom'
            INTERSECT {_ORDERS} AND ts > t() - INTERVAL 2 YEAR""",
        RETAIL_END,
    ),
    Asked(
        "order_then_return",
        'sequence("order"(value between 100 and 500) -> "return", within: 3d, last: 6mo)',
        """SELECT o.user_id FROM e o JOIN e r ON r.user_id = o.user_id AND r.event = 'return' AND r.ts >= o.ts
            AND r.ts <= o.ts + INTERVAL 3 DAY WHERE o.event = 'order' AND o.ts > t() - INTERVAL 6 MONTH
            AND (o.p->>'$.value')::DOUBLE BETWEEN 100 AND 500""",
        RETAIL_END,
    ),
)


@pytest.fixture(scope="module")
def raw() -> RawSql:
    return RawSql(PROFILES_AT)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a cluster with both data sets; they share an event name and, by chance, user ids."""
    with running_cluster(tmp_path_factory.mktemp("data-sets"), 2) as address, Client(address) as client:
        for name, profiles_at in PROFILES_AT.items():
            load(address, name, profiles_at)
        yield client


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.name)
def test_an_answer_is_what_the_raw_files_say(loaded: Client, raw: RawSql, asked: Asked) -> None:
    answer = ask(loaded, asked.text, asked.as_of, by=asked.by, tz=asked.tz)
    expected = raw.members(asked.sql, asked.as_of)
    assert 0 < len(expected)
    assert (answer.count, answer.population) == (len(expected), len(raw.population(asked.as_of)))
    if asked.by:
        found = breakdown_of(answer.breakdown)
        told = {None if value is None else str(value).lower() if isinstance(value, bool) else value for value in found}
        assert told == set(raw.by(asked.by, asked.sql, asked.as_of))
        assert sorted(found.values()) == sorted(raw.by(asked.by, asked.sql, asked.as_of).values())
        assert found.total() == answer.count


@pytest.mark.parametrize("name", ["three_steps_with_ties", "none_in_a_window", "unequal_includes_unset"])
def test_the_members_are_those_of_the_raw_files(loaded: Client, raw: RawSql, name: str) -> None:
    asked = next(question for question in QUESTIONS if question.name == name)
    ids = member_ids(loaded, asked.text, asked.as_of)
    assert len(ids) == len(set(ids))
    assert set(ids) == raw.members(asked.sql, asked.as_of)


def test_a_funnel_with_ties_counts_every_user_at_the_deepest_step(loaded: Client, raw: RawSql) -> None:
    answer = ask(loaded, 'funnel("order" -> "order" -> "order", within: 7d)', END)
    pairs = f"SELECT f.user_id {_PAIRS.format(later='>=')} AND g.ts <= f.ts + INTERVAL 7 DAY"
    steps = (_ORDERS, pairs, _TRIPLES.format(later=">="))
    assert [step.count for step in answer.funnel] == [len(raw.members(step, END)) for step in steps]
    assert answer.funnel[0].count > answer.funnel[1].count > answer.funnel[2].count > 0


def test_nobody_was_there_before_the_first_record(loaded: Client) -> None:
    answer = ask(loaded, "everyone", "1996-12-31")
    assert (answer.count, answer.population) == (0, 0)


def test_an_answer_as_of_the_past_does_not_change_with_later_questions(loaded: Client) -> None:
    first = ask(loaded, 'count("order") >= 2', SPRING)
    ask(loaded, 'count("order") >= 2', RETAIL_END)
    second = ask(loaded, 'count("order") >= 2', SPRING)
    assert (first.count, first.population) == (second.count, second.population)
