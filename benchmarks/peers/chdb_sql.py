"""The suite in ClickHouse's SQL: dense users, enum codes, windowFunnel for ordered steps."""

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
)


def _window(after: int, until: int = AS_OF_MS) -> str:
    return f"ts > {after} AND ts <= {until}"


def _enum(values: Sequence[str]) -> str:
    return f"Enum8({', '.join(f'{value!r} = {code}' for code, value in enumerate(values))})"


def _nullable_enum(values: Sequence[str]) -> str:
    return f"Nullable({_enum(values)})"


_PLAN, _COUNTRY = _nullable_enum(PLANS), _nullable_enum(COUNTRIES)
# Measured: uncompressed parts read by mmap from a memory file system are the fastest form it has here.
_STORED = "SETTINGS min_bytes_for_wide_part = 0, default_compression_codec = 'NONE'"

LOAD: Final = (
    "CREATE DATABASE bench",
    f"CREATE TABLE bench.users (user UInt32, user_id String) ENGINE = MergeTree ORDER BY user {_STORED}",
    f"""
    CREATE TABLE bench.changes (user UInt32, time UInt64, plan {_PLAN}, country {_COUNTRY})
    ENGINE = MergeTree ORDER BY (user, time) {_STORED}""",
    f"""
    CREATE TABLE bench.profiles (
        user UInt32, set_at UInt64, plan {_PLAN}, country {_COUNTRY}, first_plan {_PLAN}, first_country {_COUNTRY},
        channel {_nullable_enum(CHANNELS)}, device {_nullable_enum(DEVICES)}, age Nullable(UInt8),
        loyalty_points Nullable(UInt32), ltv Nullable(Float64), score Nullable(Float64), signup_time Nullable(UInt64),
        last_login Nullable(UInt64), tags Array(LowCardinality(String)), email Nullable(String)
    ) ENGINE = MergeTree ORDER BY user {_STORED}""",
    f"""
    CREATE TABLE bench.events (
        event {_enum(EVENT_NAMES)}, user UInt32, ts UInt64, amount Float64,
        category {_enum(("", *CATEGORIES))}, quantity UInt8, flag Bool, order_id String
    ) ENGINE = MergeTree ORDER BY (event, user, ts) {_STORED}""",
    # Profiles lie in the file in the order of set_at, which gives every user its dense number.
    """
    INSERT INTO bench.users SELECT rowNumberInAllBlocks(), user_id FROM file('{profiles}', Parquet)
    SETTINGS max_threads = 1, input_format_parquet_preserve_order = 1""",
    """
    INSERT INTO bench.changes SELECT user, toUnixTimestamp64Milli(time), plan, country
    FROM file('{changes}', Parquet) c JOIN bench.users u ON c.user_id = u.user_id""",
    f"""
    INSERT INTO bench.profiles SELECT
        u.user, toUnixTimestamp64Milli(set_at), if(l.user_id != '', l.plan, p.plan),
        if(l.user_id != '', l.country, p.country), p.plan, p.country, channel, device, age, loyalty_points, ltv, score,
        toUnixTimestamp64Milli(signup_time), toUnixTimestamp64Milli(last_login), tags, email
    FROM file('{{profiles}}', Parquet) p JOIN bench.users u ON p.user_id = u.user_id
    LEFT JOIN (
        SELECT user_id, argMax(c.plan, time) AS plan, argMax(c.country, time) AS country
        FROM bench.changes c JOIN bench.users u ON c.user = u.user WHERE time <= {AS_OF_MS} GROUP BY user_id
    ) l ON l.user_id = p.user_id""",
    # A name carries a property always or never, so absent ones need no null: plain columns are faster.
    """
    INSERT INTO bench.events SELECT
        event, user, toUnixTimestamp64Milli(ts), ifNull(amount, 0), ifNull(category, ''), ifNull(quantity, 0),
        ifNull(flag, false), ifNull(order_id, '')
    FROM file('{events}', Parquet) e JOIN bench.users u ON e.user_id = u.user_id""",
    *(f"OPTIMIZE TABLE bench.{table} FINAL" for table in ("users", "changes", "profiles", "events")),
)
"""Statements that fill the tables; `{profiles}`, `{changes}` and `{events}` are Parquet paths."""

READ_SETTINGS: Final = "SET local_filesystem_read_method = 'mmap', min_bytes_to_use_mmap_io = 1"
"""How the loaded tables are read."""


def _depths(names: tuple[str, ...], within: int) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    steps = ", ".join(f"event = '{name}'" for name in names)
    return f"""
        SELECT windowFunnel({within})(ts, {steps}) AS depth FROM bench.events
        WHERE event IN ({listed}) AND {_window(LAST_90D)} GROUP BY user"""


def _funnel_counts(*names: str) -> str:
    counts = ", ".join(f"countIf(depth >= {step})" for step in range(1, len(names) + 1))
    return f"SELECT {counts} FROM ({_depths(names, FUNNEL_WITHIN)})"


def _retention() -> str:
    cells = ", ".join(f"countIf(has(weeks, {week}))" for week in range(RETENTION_WEEKS))
    return f"""
        SELECT toString(toDate(fromUnixTimestamp64Milli(toInt64(monday), 'UTC'))), count(), {cells}
        FROM (
            SELECT t0 - (t0 + {EPOCH_TO_MONDAY_MS}) % {WEEK_MS} AS monday,
                arrayMap(x -> if(x >= t0, intDiv(x - t0, {WEEK_MS}), -1), returns) AS weeks
            FROM (
                SELECT user, minIf(ts, event = 'App Launched') AS t0, groupArrayIf(ts, event = 'Charged') AS returns
                FROM bench.events WHERE event IN ('App Launched', 'Charged') AND {_window(LAST_90D)}
                GROUP BY user HAVING t0 > 0)
        ) GROUP BY monday"""


QUERIES: Final[Mapping[str, str]] = {
    "attr_filter": "SELECT count() FROM bench.profiles"
    " WHERE plan IN ('gold', 'platinum') AND country = 'IN' AND age BETWEEN 30 AND 40 AND ltv IS NOT NULL",
    "string_contains": "SELECT count() FROM bench.profiles WHERE position(email, 'x9') > 0",
    "recent_count": f"""
        SELECT count() FROM (
            SELECT user FROM bench.events WHERE event = 'Charged' AND {_window(LAST_30D)}
            GROUP BY user HAVING count() >= 3)""",
    "alltime_count": f"""
        SELECT count() FROM (
            SELECT user FROM bench.events WHERE event = 'App Launched' AND ts <= {AS_OF_MS}
            GROUP BY user HAVING count() >= 10)""",
    "filtered_sum": f"""
        SELECT count() FROM (
            SELECT user FROM bench.events WHERE event = 'Charged' AND category = 'c07' AND {_window(LAST_90D)}
            GROUP BY user HAVING sum(amount) > 100.005)""",
    "did_and_not": f"""
        SELECT count() FROM bench.profiles WHERE plan = 'gold'
        AND user IN (SELECT user FROM bench.events WHERE event = 'Product Viewed' AND {_window(LAST_30D)})
        AND user NOT IN (SELECT user FROM bench.events WHERE event = 'Charged' AND {_window(LAST_30D)})""",
    "first_time_30d": f"""
        SELECT count() FROM (
            SELECT user FROM bench.events WHERE event = 'Charged' AND ts <= {AS_OF_MS}
            GROUP BY user HAVING min(ts) > {LAST_30D})""",
    "distinct_days": f"""
        SELECT count() FROM (
            SELECT user, groupBitOr(bitShiftLeft(toUInt64(1), intDiv(ts, {DAY_MS}) - {LAST_30D // DAY_MS})) AS days
            FROM bench.events WHERE event = 'App Launched' AND {_window(LAST_30D)}
            GROUP BY user HAVING bitCount(days) >= 5)""",
    "funnel3": _funnel_counts("Product Viewed", "Added To Cart", "Charged"),
    "funnel5": _funnel_counts("App Launched", "Searched", "Product Viewed", "Added To Cart", "Charged"),
    "sequence_leaf": f"SELECT countIf(depth = 3) FROM"
    f" ({_depths(('Product Viewed', 'Added To Cart', 'Charged'), HOUR_MS)})",
    "retention_weekly": _retention(),
    "trend_daily_uniques": f"""
        SELECT toString(toDate(toUInt16(intDiv(ts, {DAY_MS})))) AS day, count(), uniqExact(user)
        FROM bench.events WHERE event = 'Charged' AND {_window(LAST_90D)} GROUP BY day""",
    "breakdown": f"""
        SELECT coalesce(toString(country), '(none)'), count() FROM bench.profiles WHERE user IN (
            SELECT user FROM bench.events WHERE event = 'Product Viewed' AND {_window(LAST_30D)}
            GROUP BY user HAVING count() >= 3)
        GROUP BY country""",
    "as_of": f"""
        SELECT count() FROM bench.profiles AS p LEFT JOIN (
            SELECT user, argMax(plan, time) AS plan FROM bench.changes WHERE time <= {THEN} GROUP BY user
        ) AS latest ON p.user = latest.user
        WHERE set_at <= {THEN} AND ifNull(coalesce(latest.plan, p.first_plan) != 'free', 1)
        AND p.user NOT IN (
            SELECT user FROM bench.events WHERE event = 'Charged' AND {_window(THEN_LAST_30D, THEN)})""",
    "members_export": f"""
        SELECT user_id FROM bench.users WHERE user IN (
            SELECT user FROM bench.events WHERE event = 'App Launched' AND {_window(LAST_30D)}
            GROUP BY user HAVING count() >= 3)""",
    "deep_boolean": f"""
        WITH charged AS (
            SELECT user, countIf(ts > {LAST_30D}) AS last30, countIf(ts > {LAST_7D}) AS last7, sum(amount) AS spent
            FROM bench.events WHERE event = 'Charged' AND {_window(LAST_90D)} GROUP BY user)
        SELECT count() FROM bench.profiles
        WHERE (plan IN ('gold', 'platinum', 'enterprise') OR ltv > 500.005 OR has(tags, 'vip'))
            AND ifNull(country != 'US', 1) AND ifNull(age >= 18, 1)
            AND (user IN (SELECT user FROM charged WHERE last30 >= 2 OR spent > 250.005)
                OR (user IN (SELECT user FROM bench.events WHERE event = 'Added To Cart' AND {_window(LAST_7D)})
                    AND user NOT IN (SELECT user FROM bench.events WHERE event = 'Charged' AND {_window(LAST_7D)})))
            AND (user IN (
                    SELECT user FROM bench.events WHERE event = 'App Launched' AND {_window(LAST_30D)}
                    GROUP BY user HAVING min(intDiv(ts, {DAY_MS})) != max(intDiv(ts, {DAY_MS})))
                OR user IN (
                    SELECT user FROM bench.events WHERE event = 'Searched' AND ts <= {AS_OF_MS}
                    GROUP BY user HAVING count() >= 5))
            AND ifNull(position(email, 'zz') = 0, 1)""",
}
"""SQL by query name."""
