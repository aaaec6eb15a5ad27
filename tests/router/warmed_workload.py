"""Run in a fresh process: warm the kernels, do what a cluster does, print which kernels compiled after warming.

python -m tests.router.warmed_workload FOLDER [LIST]

With LIST it loads the kernels listed there, and makes the list if there is none.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from unittest.mock import patch

import numba.core.dispatcher

import cdp_query.kernels
import cdp_store.kernels
from cdp_query.errors import QueryError
from cdp_router.errors import RequestInvalid
from cdp_router.process import kernel_list
from cdp_router.process.warm_up import warm_kernels
from tests.router.encodings import (
    DAY_MS,
    Sent,
    arrow_batch,
    arrow_table,
    instant,
    msgpack_batch,
    msgpack_row,
    protobuf_batch,
)
from tests.router.local_cluster import NOW_MS, LocalCluster, local_cluster
from tests.router.records.test_columnarise import TYPES

_NUMBERS = (1, -1, 200, -200, 60_000, 1 << 20, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.5, 12.95, 1e300, float(1 << 20), -0.0)
_KINDS = (*_NUMBERS, *_FLOATS, "text", "", True, ["a", 1], [], instant(NOW_MS), None)

_CONDITIONS = (
    "p = 1",
    "p != 1.5",
    "p > 3",
    "p <= 1e9",
    "p between -5 and 70000",
    "p in [1, 2.5, 200]",
    "p not in [3]",
    'p = "text"',
    'p != "text" ci',
    'p in ["text", "x"]',
    'p contains "e"',
    'p not starts_with "t" ci',
    'p ends_with "t"',
    'p matches "t.x"',
    "p = true",
    "exists(p)",
    "missing(p)",
    'p has "a"',
    'any(p, q.r > 1 or q = "x")',
    "none(p, q has 1)",
    'p has_any ["a", 1]',
    'p has_all ["a"]',
    'p has_none ["a"]',
    "size(p) >= 1",
    "p = 2026-01-01",
    "p > 2025-01-01T00:00:00Z",
    "p between 2025-01-01 and 2026-12-31",
)
_PROFILE_QUESTIONS = (
    'version(text) > "1.5"',
    "p within last 90d",
    "p older than 1mo",
    "anniversary(p, 0d..40d)",
    "distance(m, 1, 2) < 5000000",
    'did("View", distance(m, 1, 2) < 5000000)',
    "bucket between 0 and 499",
    'was(p = "text", last: 90d)',
    "was(missing(gone))",
    "changed(p, from: 1, to: set, last: 400d)",
    "changed(tags)",
    "unchanged(plan, for: 30d)",
    'value_at(plan, 60d) = "gold"',
)
_WINDOWS = (
    "last: 3d",
    "last: 400d",
    "last_calendar: 2w",
    "from: 2025-11-01, to: 2025-12-01",
    "before: 2025-12-01",
    "after: 2025-12-01",
    "days_ago: 2",
    "ago: 1d..60d",
    "more_than_ago: 30d",
    "this: month",
    "previous: year",
)
_USER_WINDOWS = ('within: 30d, of_first: "View"', "since: p")


def _signatures() -> dict[str, set[str]]:
    """Compiled signatures of every kernel, by name."""
    found = dict[str, set[str]]()
    for package in (cdp_store.kernels, cdp_query.kernels):
        for module in pkgutil.iter_modules(package.__path__):
            for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items():
                if isinstance(value, numba.core.dispatcher.Dispatcher):
                    found[f"{value.__module__}.{name}"] = set(map(str, value.signatures))
    return found


def _questions() -> list[str]:
    ev = '"View"'
    questions = ["everyone", "not everyone", 'p = 1 or (n > 3 and not plan = "gold")']
    questions += _CONDITIONS
    questions += _PROFILE_QUESTIONS
    questions += [f"did({ev}, {condition})" for condition in _CONDITIONS]
    questions += [f"did({ev}, n > 1 or not {condition})" for condition in _CONDITIONS]
    for window in (*_WINDOWS, *_USER_WINDOWS):
        questions += [
            f"did({ev}, {window})", f"count({ev}, {window}) >= 2", f'count(["View", "Buy"], {window}) = 0',
            f"sum({ev}.n, {window}) > 1", f"first_time({ev}, {window})", f"last_time({ev}, p > 1, {window})",
            f"days({ev}, {window}) >= 2", f"weeks({ev}, {window}) >= 2",
            f"streak({ev}, {window}) >= 2", f'recency({ev}, p > 1, {window}) > 3d', f'distinct({ev}.p, {window}) > 1',
            f'median({ev}.mixed, {window}) < p95({ev}.n) + avg({ev}.price)', f'min({ev}.p, {window}) < max({ev}.n)',
            f'days({ev}, p > 1, {window}) < 3 * count("Buy") - days(["View", "Buy"])',
        ]  # fmt: skip
    questions += [
        f'regularly({ev}, 1 per week, 2 of last 9)', f'stopped({ev}, ago: 3d..9d, last: 3d)', f'mostly({ev}.p = 1)',
        f'nth({ev}, 2, p > 1)', f'first({ev}.p) = 1', 'last(["View", "Buy"].text, since: p) = "t1"',
        f'share({ev}.mixed > 3, last: 90d) >= 0.4', f'resumed({ev}, ago: 3d..9d)',
    ]  # fmt: skip
    questions += [f'sequence({ev} -> "Buy", within: 2d, {window})' for window in _WINDOWS]
    questions += ["inactive(9d)", f'did({ev}, hour() in 9..17, weekday() in ["sat", "sun"])']
    for aggregate in ("sum", "min", "max", "avg"):
        for name in ("n", "p", "price", "text", "mixed", "never"):
            questions.append(f"{aggregate}({ev}.{name}) > 1")
            questions.append(f"{aggregate}({ev}.{name}, p > 1, last: 3d) != 2.5")
    questions += [
        f"count({ev}, zero: exclude) < 5", f"count({ev}) != 2", 'did("Never")', f"count({ev}, never = 1) = 0",
        f"sequence({ev} -> {ev} -> {ev}, tie: strict)", f'sequence({ev}(n > 1) -> ["Buy", "View"])',
        *(
            f'funnel({ev} -> "Buy" -> {ev}, order: {order}, mode: {mode}, hold: {held}, by_entry: {held}, times: on)'
            for order in ("ordered", "strict", "any")
            for mode in ("deepest", "first_entry", "totals")
            for held in ("p", "mixed")
        ),
        f'sequence({ev} -> without "Buy" -> {ev}, within_each: 9d)', f'funnel({ev} -> "Buy", within: 9d, by: tags)',
    ]  # fmt: skip
    return [*questions, *_reports(ev)]


def _reports(ev: str) -> list[str]:
    return [
        "overlap(p = 1, n > 3)", 'diff(plan = "gold", from: 1970-01-01, to: 1970-01-01)', "distribution(everyone, n)",
        f"distribution(p = 1, count({ev}, last: 3d))",
        *(f"rfm({ev}.{name}, last: 60d)" for name in ("n", "p", "price")),
        *(
            f"flow({event}, depth: 3, direction: {direction}, anchor: {anchor}, {window})"
            for event in (ev, '["Buy", "View"], n > 1')
            for direction in ("after", "before")
            for anchor in ("first", "last", "each")
            for window in ("last: 30d, within: 9d", 'for: 30d, of_first: "View"', "since: p")
        ),
        *(
            f'{report}({ev} -> "Buy", within: 9d, {window})'
            for report in ("sequence", "funnel")
            for window in ('for: 30d, of_first: "View"', "since: p")
        ),
        *(
            f"{report}, {window})"
            for report in (
                f"trend({ev}.n, unit: week",
                f"rfm({ev}.n",
                f"retention({ev}, return: {ev}, unit: day, periods: 3",
            )
            for window in _USER_WINDOWS
        ),
        *(
            f"lifecycle({names}, unit: {unit}, {window})"
            for names in (ev, '["Buy", "View"], n > 1')
            for unit in ("day", "month")
            for window in ("last: 90d", "since: p")
        ),
        *(f"trend({ev}, unit: {unit}, {window})" for unit in ("day", "week", "month") for window in _WINDOWS[:4]),
        *(f"trend({ev}.{name}, p > 1, unit: month)" for name in ("n", "p", "price", "text", "mixed", "never")),
        *(
            f"retention({ev}, return: {event}, unit: {unit}, start: {start}, mode: {mode}, periods: {k}, last: 90d)"
            for event in ('"Buy"', f"{ev}(n > 1)")
            for unit in ("day", "week", "month")
            for start, mode, k in (("rolling", "on", 3), ("calendar", "on_or_after", 70))
        ),
        f'funnel({ev} -> "Buy" -> {ev}, within: 3d, last: 90d)', f'funnel({ev} -> "Buy", tie: strict)',
    ]  # fmt: skip


def _records(seed: int, count: int) -> list[Sent]:
    records = list[Sent]()
    for n in range(count):
        who = f"u{(seed + n) % 23}"
        kind = _KINDS[n % len(_KINDS)]
        values = {
            "p": kind, "n": _NUMBERS[n % len(_NUMBERS)] if n % 2 else n, "price": _FLOATS[n % len(_FLOATS)],
            "text": f"t{n % 5}", "mixed": n if n % 2 else n / 2, "one": 7,
            "m": {"x": n % 300, "lat": n % 90, "lon": n / 2 % 180},
        }  # fmt: skip
        time_ms = NOW_MS - (n * 37 % 400) * DAY_MS // 4
        records.append(Sent(("View", "Buy")[n % 2], who, time_ms, values, message_id=f"{seed}-{n}" if n % 3 else ""))
        records.append(
            Sent(
                None,
                who,
                time_ms,
                {"p": kind, "plan": "gold", "n": n, "tags": ["a"], "gone": None, "m": {"lat": n % 90}},
            )
        )
    return records


def _ask_all(cluster: LocalCluster) -> None:
    for as_of_ms in (None, NOW_MS - 60 * DAY_MS, 0):
        for text in _questions():
            try:
                cluster.query(text, as_of_ms, explain=True)
            except (QueryError, RequestInvalid) as error:
                assert "64 bits" in str(error), (text, error)
        for attribute in ("plan", "p", "n", "tags", "gone", "never"):
            cluster.query('did("View")', as_of_ms, by=attribute)
    cluster.query('did("View", last_calendar: 3d)', tz="Europe/Berlin", exclude_anonymous=True)
    cluster.members('did("View") and p = 1')
    cluster.members("not everyone")
    cluster.profile(user_id="u1")


def _work(folder: Path) -> None:
    with local_cluster(folder) as cluster:
        cluster.query("everyone")
        for seed in range(7):
            records = _records(seed, 150)
            cluster.ingest(protobuf_batch(records))
            cluster.ingest(protobuf_batch(records[:2]))
            cluster.ingest(msgpack_batch([*map(msgpack_row, _records(seed + 100, 20)), "bad"]))
            typed = [record._replace(values={"n": 1, "text": "x"}) for record in records[:10]]
            cluster.ingest(arrow_batch(arrow_table(typed, TYPES)))
            cluster.ingest(arrow_batch(arrow_table([typed[0]._replace(user_id=""), typed[2]], TYPES)))
            cluster.ingest(protobuf_batch([Sent("View", "", NOW_MS, {}, anonymous_id=f"x{seed}")]))
            if seed in (0, 6):
                _ask_all(cluster)
            cluster.seal()
        _ask_all(cluster)
    with local_cluster(folder) as cluster:  # from the log
        with patch.multiple("cdp_query.scan.narrowed", FEW=0, WORTH_NARROWING=0):
            _ask_all(cluster)


def main() -> None:
    """Warm, work, compare."""
    ran = list[str]()
    if len(sys.argv) > 2:
        with patch.object(kernel_list, "warm_mark", lambda: Path(sys.argv[2])):
            kernel_list.load_or_run(lambda: warm_kernels(lambda done, total: ran.append("step")))
    else:
        warm_kernels(lambda done, total: ran.append("step"))
    before = _signatures()
    _work(Path(sys.argv[1]))
    after = _signatures()
    late = {name: sorted(after[name] - before[name]) for name in after if after[name] - before[name]}
    warmed = sum(map(len, before.values()))
    print(json.dumps({"warmed": warmed, "kernels": len(before), "late": late, "steps": len(ran)}))


if __name__ == "__main__":
    main()
