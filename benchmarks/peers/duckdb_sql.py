"""The suite in DuckDB's SQL: dense users, ENUM codes, as-of joins for ordered steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.scales import (
    AS_OF_MS,
    CATEGORIES,
    CHANNELS,
    COUNTRIES,
    DAY_MS,
    DEVICES,
    EVENT_NAMES,
    HOUR_MS,
    PLANS,
    WEEK_MS,
)
from benchmarks.windows import (
    EPOCH_TO_MONDAY_MS,
    FUNNEL_WITHIN,
    LAST_7D,
    LAST_30D,
    LAST_90D,
    RETENTION_WEEKS,
    THEN,
    THEN_LAST_30D,
    USER_SPAN_MS,
)


def _window(after: int, until: int = AS_OF_MS) -> str:
    return f"ts > {after} AND ts <= {until}"


def _enum(name: str, values: Sequence[str]) -> str:
    return f"CREATE TYPE {name} AS ENUM ({', '.join(repr(value) for value in values)})"


LOAD: Final = (
    _enum("event_name", EVENT_NAMES),
    _enum("category_name", CATEGORIES),
    _enum("plan_name", PLANS),
    _enum("country_name", COUNTRIES),
    _enum("channel_name", CHANNELS),
    _enum("device_name", DEVICES),
    """
    CREATE TABLE users AS
    SELECT file_row_number::UINTEGER AS user, user_id FROM read_parquet('{profiles}', file_row_number = true)""",
    # Later changes are few, so one row per change beside the first values answers any instant.
    """
    CREATE TABLE changes AS
    SELECT user, epoch_ms(time) AS time, plan::plan_name AS plan, country::country_name AS country
    FROM read_parquet('{changes}') JOIN users USING (user_id) ORDER BY user, time""",
    f"""
    CREATE TABLE profiles AS WITH latest AS (
        SELECT user, arg_max(plan, time) AS plan, arg_max(country, time) AS country
        FROM changes WHERE time <= {AS_OF_MS} GROUP BY user)
    SELECT p.file_row_number::UINTEGER AS user, epoch_ms(p.set_at) AS set_at,
        coalesce(l.plan, p.plan::plan_name) AS plan, coalesce(l.country, p.country::country_name) AS country,
        p.plan::plan_name AS first_plan, p.country::country_name AS first_country,
        p.channel::channel_name AS channel, p.device::device_name AS device, p.age, p.loyalty_points, p.ltv, p.score,
        epoch_ms(p.signup_time) AS signup_time, epoch_ms(p.last_login) AS last_login, p.tags, p.email
    FROM read_parquet('{{profiles}}', file_row_number = true) p LEFT JOIN latest l ON l.user = p.file_row_number
    ORDER BY 1""",
    """
    CREATE TABLE events AS
    SELECT event::event_name AS event, user, epoch_ms(ts) AS ts, amount, category::category_name AS category,
        quantity::UTINYINT AS quantity, flag, order_id
    FROM read_parquet('{events}') JOIN users USING (user_id) ORDER BY event, user, ts""",
)
"""Statements that fill the tables; `{profiles}`, `{changes}` and `{events}` are Parquet paths."""


def _funnel(names: tuple[str, ...], within: int) -> str:
    """Common tables step1 .. stepN: every event that some attempt reaches, with its attempt's latest start.

    User and time are one ordered number (windows.py): measured nearly twice as fast as an as-of join by user.
    """
    key = f"user::BIGINT * {USER_SPAN_MS} + (ts - {LAST_90D})"
    window = _window(LAST_90D)
    steps = [f"step1 AS (SELECT {key} AS key, key AS start FROM events WHERE event = '{names[0]}' AND {window})"]
    for number, name in enumerate(names[1:], 2):
        steps.append(
            f"step{number} AS (SELECT e.key, s.start"
            f" FROM (SELECT {key} AS key FROM events WHERE event = '{name}' AND {window}) e"
            f" ASOF JOIN step{number - 1} s ON e.key >= s.key WHERE e.key - s.start <= {within})"
        )
    return "WITH " + ", ".join(steps)


def _reached(step: int) -> str:
    return f"(SELECT count(DISTINCT key // {USER_SPAN_MS}) FROM step{step})"


def _funnel_counts(*names: str) -> str:
    counts = ", ".join(_reached(step) for step in range(1, len(names) + 1))
    return f"{_funnel(names, FUNNEL_WITHIN)} SELECT {counts}"


def _retention() -> str:
    cells = ", ".join(f"count_if((weeks >> {week}) & 1 = 1)" for week in range(RETENTION_WEEKS))
    return f"""
        WITH entry AS (
            SELECT user, min(ts) AS t0 FROM events WHERE event = 'App Launched' AND {_window(LAST_90D)} GROUP BY user
        ), returned AS (
            SELECT user, bit_or(1 << ((r.ts - t0) // {WEEK_MS})::INTEGER) AS weeks
            FROM entry JOIN (SELECT user, ts FROM events WHERE event = 'Charged' AND {_window(LAST_90D)}) r USING (user)
            WHERE r.ts >= t0 AND r.ts < t0 + {RETENTION_WEEKS * WEEK_MS} GROUP BY user
        ), cohorts AS (
            SELECT t0 - (t0 + {EPOCH_TO_MONDAY_MS}) % {WEEK_MS} AS monday, coalesce(weeks, 0) AS weeks
            FROM entry LEFT JOIN returned USING (user)
        )
        SELECT make_timestamp(monday * 1000)::DATE, count(*), {cells} FROM cohorts GROUP BY monday"""


QUERIES: Final[Mapping[str, str]] = {
    "attr_filter": "SELECT count(*) FROM profiles"
    " WHERE plan IN ('gold', 'platinum') AND country = 'IN' AND age BETWEEN 30 AND 40 AND ltv IS NOT NULL",
    "string_contains": "SELECT count(*) FROM profiles WHERE contains(email, 'x9')",
    "recent_count": f"""
        SELECT count(*) FROM (
            SELECT user FROM events WHERE event = 'Charged' AND {_window(LAST_30D)}
            GROUP BY user HAVING count(*) >= 3)""",
    "alltime_count": f"""
        SELECT count(*) FROM (
            SELECT user FROM events WHERE event = 'App Launched' AND ts <= {AS_OF_MS}
            GROUP BY user HAVING count(*) >= 10)""",
    "filtered_sum": f"""
        SELECT count(*) FROM (
            SELECT user FROM events WHERE event = 'Charged' AND category = 'c07' AND {_window(LAST_90D)}
            GROUP BY user HAVING sum(amount) > 100.005)""",
    "did_and_not": f"""
        SELECT count(*) FROM profiles p
        SEMI JOIN (SELECT user FROM events WHERE event = 'Product Viewed' AND {_window(LAST_30D)}) v ON p.user = v.user
        ANTI JOIN (SELECT user FROM events WHERE event = 'Charged' AND {_window(LAST_30D)}) c ON p.user = c.user
        WHERE plan = 'gold'""",
    "first_time_30d": f"""
        SELECT count(*) FROM (
            SELECT user FROM events WHERE event = 'Charged' AND ts <= {AS_OF_MS}
            GROUP BY user HAVING min(ts) > {LAST_30D})""",
    # A month's days fit into the bits of one integer: cheaper than a set of days per user.
    "distinct_days": f"""
        SELECT count(*) FROM (
            SELECT user FROM events WHERE event = 'App Launched' AND {_window(LAST_30D)}
            GROUP BY user HAVING bit_count(bit_or(1::BIGINT << (ts // {DAY_MS} - {LAST_30D // DAY_MS}))) >= 5)""",
    "funnel3": _funnel_counts("Product Viewed", "Added To Cart", "Charged"),
    "funnel5": _funnel_counts("App Launched", "Searched", "Product Viewed", "Added To Cart", "Charged"),
    "sequence_leaf": _funnel(("Product Viewed", "Added To Cart", "Charged"), HOUR_MS) + f" SELECT {_reached(3)}",
    "retention_weekly": _retention(),
    "trend_daily_uniques": f"""
        SELECT make_timestamp(day * {DAY_MS * 1000})::DATE, events, users FROM (
            SELECT ts // {DAY_MS} AS day, count(*) AS events, count(DISTINCT user) AS users FROM events
            WHERE event = 'Charged' AND {_window(LAST_90D)} GROUP BY day)""",
    "breakdown": f"""
        SELECT coalesce(country::VARCHAR, '(none)'), n FROM (
            SELECT country, count(*) AS n FROM profiles JOIN (
                SELECT user FROM events WHERE event = 'Product Viewed' AND {_window(LAST_30D)}
                GROUP BY user HAVING count(*) >= 3) USING (user)
            GROUP BY country)""",
    "as_of": f"""
        WITH latest AS (SELECT user, arg_max(plan, time) AS plan FROM changes WHERE time <= {THEN} GROUP BY user)
        SELECT count(*) FROM profiles p LEFT JOIN latest l ON p.user = l.user
        WHERE p.set_at <= {THEN} AND coalesce(l.plan, p.first_plan) IS DISTINCT FROM 'free' AND p.user NOT IN (
            SELECT user FROM events WHERE event = 'Charged' AND {_window(THEN_LAST_30D, THEN)})""",
    "members_export": f"""
        SELECT user_id FROM users JOIN (
            SELECT user FROM events WHERE event = 'App Launched' AND {_window(LAST_30D)}
            GROUP BY user HAVING count(*) >= 3) USING (user)""",
    "deep_boolean": f"""
        WITH charged AS (
            SELECT user, count(*) FILTER (ts > {LAST_30D}) AS last30, count(*) FILTER (ts > {LAST_7D}) AS last7,
                sum(amount) AS spent
            FROM events WHERE event = 'Charged' AND {_window(LAST_90D)} GROUP BY user
        ), carted AS (
            SELECT DISTINCT user, true AS carted FROM events WHERE event = 'Added To Cart' AND {_window(LAST_7D)}
        ), launched AS (
            SELECT user, count(DISTINCT ts // {DAY_MS}) AS days FROM events
            WHERE event = 'App Launched' AND {_window(LAST_30D)} GROUP BY user HAVING days >= 2
        ), searched AS (
            SELECT user, count(*) AS times FROM events WHERE event = 'Searched' AND ts <= {AS_OF_MS}
            GROUP BY user HAVING times >= 5
        )
        SELECT count(*) FROM profiles p LEFT JOIN charged c ON p.user = c.user LEFT JOIN carted a ON p.user = a.user
            LEFT JOIN launched l ON p.user = l.user LEFT JOIN searched s ON p.user = s.user
        WHERE (plan IN ('gold', 'platinum', 'enterprise') OR ltv > 500.005 OR list_contains(tags, 'vip'))
            AND country IS DISTINCT FROM 'US' AND (age < 18) IS NOT TRUE
            AND (c.last30 >= 2 OR c.spent > 250.005 OR (a.carted AND coalesce(c.last7, 0) = 0))
            AND (l.days IS NOT NULL OR s.times IS NOT NULL) AND contains(email, 'zz') IS NOT TRUE""",
}
"""SQL by query name."""
