"""Every demo question's answer equals what DuckDB computes from the same files: an eighth of their people, or all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster import running_cluster
from benchmarks.demo import SOURCES
from benchmarks.demo_questions import QUESTIONS, DemoQuestion
from cdp_router.client import Client
from tests.e2e.raw_sql import DATA, RawSql, ask, breakdown_of, load, member_ids, thinned

PROFILES_AT = {"online_retail_lines": "2010-12-01", "ecom_synthetic": "2024-01-04"}

_BOUGHT = "SELECT user_id FROM e WHERE event = 'purchase_line'"
_VIEWS = "SELECT * FROM e WHERE event = 'product_view' AND ts > t() - INTERVAL 90 DAY"
_CARTS = f"""SELECT v.user_id, v.ts AS start, c.ts FROM ({_VIEWS}) v JOIN e c ON c.user_id = v.user_id
    AND c.event = 'add_to_cart' AND c.ts >= v.ts AND c.ts <= v.ts + INTERVAL 7 DAY"""
_PURCHASES = f"""SELECT c.user_id FROM ({_CARTS}) c JOIN e b ON b.user_id = c.user_id
    AND b.event = 'purchase' AND b.ts >= c.ts AND b.ts <= c.start + INTERVAL 7 DAY"""

# Written from the question in words and semantics.md, not from the engine. A list of queries: the steps of a funnel.
SQL: dict[str, str | list[str]] = {
    "attribute": "SELECT user_id FROM u WHERE a->>'$.country' IN ('Germany', 'France')",
    "recent_count": f"{_BOUGHT} AND ts > t() - INTERVAL 30 DAY GROUP BY 1 HAVING count(*) >= 10",
    "filtered_count": f"""{_BOUGHT} AND (p->>'$.quantity')::BIGINT >= 100 AND (p->>'$.unit_price')::DOUBLE < 1
        AND user_id IN (SELECT user_id FROM u WHERE a->>'$.country' IS DISTINCT FROM 'United Kingdom')""",
    "sum": f"{_BOUGHT} AND ts > t() - INTERVAL 90 DAY GROUP BY 1 HAVING fsum((p->>'$.value')::DOUBLE) > 1000",
    "average_or_maximum": f"""{_BOUGHT} GROUP BY 1 HAVING favg((p->>'$.unit_price')::DOUBLE) >= 10
        OR max((p->>'$.value')::DOUBLE) > 2500""",
    "lapsed": f"""{_BOUGHT} AND ts >= TIMESTAMP '2011-01-01' AND ts < TIMESTAMP '2011-07-01'
        EXCEPT {_BOUGHT} AND ts > t() - INTERVAL 90 DAY""",
    "first_time": f"{_BOUGHT} GROUP BY 1 HAVING min(ts) > t() - INTERVAL 30 DAY",
    "sequence": """SELECT b.user_id FROM e b JOIN e r ON r.user_id = b.user_id AND r.event = 'return_line'
        AND r.ts >= b.ts AND r.ts <= b.ts + INTERVAL 7 DAY
        WHERE b.event = 'purchase_line' AND (b.p->>'$.value')::DOUBLE >= 100
        AND b.ts >= TIMESTAMP '2011-01-01' AND b.ts < TIMESTAMP '2012-01-01'""",
    "breakdown": f"{_BOUGHT} GROUP BY 1 HAVING fsum((p->>'$.value')::DOUBLE) > 5000",
    "as_of": f"{_BOUGHT} AND ts > t() - INTERVAL 90 DAY GROUP BY 1 HAVING count(*) >= 50",
    "cart_abandoners": """SELECT user_id FROM e WHERE event = 'add_to_cart' AND p->>'$.platform' = 'mobile'
        AND ts >= date_trunc('week', t()) - INTERVAL 28 DAY
        AND user_id NOT IN (SELECT user_id FROM e WHERE event = 'purchase'
            AND ts >= date_trunc('week', t()) - INTERVAL 28 DAY)
        AND user_id IN (SELECT user_id FROM u WHERE a->>'$.channel' IS DISTINCT FROM 'email')""",
    "funnel": [f"SELECT user_id FROM ({_VIEWS})", f"SELECT user_id FROM ({_CARTS})", _PURCHASES],
}
_BY_NAME = {question.name: question for question in QUESTIONS}


@pytest.fixture(scope="module", params=[8, pytest.param(1, marks=pytest.mark.long)], ids=["an eighth", "all"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the data sets; nearly all of the time of this file is loading them."""
    if request.param == 1:
        return DATA
    folder = tmp_path_factory.mktemp("thinned")
    thinned(PROFILES_AT, folder, request.param)
    return folder


@pytest.fixture(scope="module")
def raw(files: Path) -> RawSql:
    return RawSql(PROFILES_AT, files)


@pytest.fixture(scope="module")
def loaded(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a cluster with the data of the demo."""
    with running_cluster(tmp_path_factory.mktemp("demo"), warm=False) as address, Client(address) as client:
        for name, profiles_at in PROFILES_AT.items():
            load(address, name, profiles_at, files)
        yield client


def test_the_demo_loads_what_is_compared_here() -> None:
    loaded = {file: options for file, *options in SOURCES}
    assert loaded == {
        **{f"{name}.profiles.parquet": ["--default-time", when] for name, when in PROFILES_AT.items()},
        **{f"{name}.events.parquet": [] for name in PROFILES_AT},
    }
    assert set(SQL) == set(_BY_NAME)


@pytest.mark.parametrize("question", QUESTIONS, ids=list(_BY_NAME))
def test_a_demo_answer_is_what_the_raw_files_say(loaded: Client, raw: RawSql, question: DemoQuestion) -> None:
    answer = ask(loaded, question.text, question.as_of, by=question.by)
    assert answer.population == len(raw.population(question.as_of))
    sql = SQL[question.name]
    steps = [len(raw.members(step, question.as_of)) for step in ([sql] if isinstance(sql, str) else sql)]
    assert steps[-1] > 0, "the question must be about somebody"
    assert answer.count == steps[-1]
    if isinstance(sql, list):
        assert [step.count for step in answer.funnel] == steps
    if question.by:
        assert isinstance(sql, str)
        assert breakdown_of(answer.breakdown) == raw.by(question.by, sql, question.as_of)


@pytest.mark.parametrize("name", ["sequence", "cart_abandoners"])
def test_the_members_of_a_demo_question_are_those_of_the_raw_files(loaded: Client, raw: RawSql, name: str) -> None:
    question, sql = _BY_NAME[name], SQL[name]
    assert isinstance(sql, str)
    ids = member_ids(loaded, question.text, question.as_of)
    assert len(ids) == len(set(ids))
    assert set(ids) == raw.members(sql, question.as_of)


def test_loading_the_same_files_again_changes_nothing(loaded: Client, raw: RawSql, files: Path) -> None:
    load(loaded.address, "ecom_synthetic", PROFILES_AT["ecom_synthetic"], files)
    question = _BY_NAME["funnel"]
    answer = ask(loaded, question.text, question.as_of)
    sql = SQL["funnel"]
    assert [step.count for step in answer.funnel] == [len(raw.members(step, question.as_of)) for step in sql]
    total = ask(loaded, 'count("product_view") >= 1', question.as_of)
    assert total.count == len(raw.members("SELECT user_id FROM e WHERE event = 'product_view'", question.as_of))
