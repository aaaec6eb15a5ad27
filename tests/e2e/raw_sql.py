"""The vendored data sets in DuckDB: what the raw files say, asked with SQL of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from cdp.v1 import query_pb2

from cdp_router.client import Client
from cdp_router.contract.values import from_value, to_timestamp
from cdp_store.values import to_ms
from tests.e2e.processes import cdp

DATA = Path(__file__).parents[2] / "benchmarks" / "data"


class RawSql:
    """Events and profiles of some data sets; `members` and the like answer as of an instant.

    A member query sees: e(n, user_id, event, ts, p), the events up to T, n being unique; u(user_id, a), the
    population with its attributes as JSON; and the macro t() = T. It gives user ids.
    """

    def __init__(self, data_sets: dict[str, str], folder: Path = DATA) -> None:
        """`data_sets`: name -> the time its profiles were loaded with."""
        self._sql = duckdb.connect()
        self._sql.execute("SET TimeZone = 'UTC'; SET threads = 2")
        events = " UNION ALL ".join(f"SELECT * FROM '{folder}/{name}.events.parquet'" for name in data_sets)
        profiles = " UNION ALL ".join(
            f"SELECT user_id, attributes, TIMESTAMP '{when}' AS ts FROM '{folder}/{name}.profiles.parquet'"
            for name, when in data_sets.items()
        )
        self._sql.execute(f"""
            CREATE TABLE events AS SELECT row_number() OVER () AS n, user_id, event, ts, properties::JSON AS p
                FROM ({events});
            CREATE TABLE profiles AS SELECT user_id, attributes::JSON AS a, ts FROM ({profiles});
            CREATE TABLE born AS SELECT user_id, min(ts) AS ts FROM
                (SELECT user_id, ts FROM events UNION ALL SELECT user_id, ts FROM profiles) GROUP BY 1;
        """)
        self._seen_at = ""

    def _as_of(self, as_of: str) -> None:
        if as_of == self._seen_at:
            return  # several questions in a row are asked as of the same instant
        self._seen_at = as_of
        self._sql.execute(f"""
            CREATE OR REPLACE MACRO t() AS TIMESTAMP '{as_of}';
            CREATE OR REPLACE TEMP TABLE e AS SELECT * FROM events WHERE ts <= t();
            CREATE OR REPLACE TEMP TABLE u AS SELECT user_id, json_merge_patch(
                    coalesce(known[1], '{{}}'), coalesce(known[2], '{{}}')) AS a
                FROM (SELECT b.user_id, list(p.a ORDER BY p.ts) AS known
                    FROM born b LEFT JOIN profiles p ON p.user_id = b.user_id AND p.ts <= t()
                    WHERE b.ts <= t() GROUP BY 1);
        """)

    def population(self, as_of: str) -> set[str]:
        """Ids of U."""
        self._as_of(as_of)
        return self._ids("SELECT user_id FROM u")

    def members(self, query: str, as_of: str) -> set[str]:
        """Ids of the members a query gives."""
        self._as_of(as_of)
        return self._ids(f"SELECT user_id FROM u WHERE user_id IN ({query})")

    def by(self, attribute: str, query: str, as_of: str) -> Counter[Any]:
        """Members by the value of an attribute; None for those without."""
        self._as_of(as_of)
        found = self._sql.execute(
            f"SELECT a->>'$.{attribute}', count(*) FROM u WHERE user_id IN ({query}) GROUP BY 1"
        ).fetchall()
        return Counter(dict(found))

    def _ids(self, query: str) -> set[str]:
        return {row[0] for row in self._sql.execute(query).fetchall()}


def thinned(data_sets: Iterable[str], folder: Path, share: int) -> None:
    """Write the files of some data sets to a folder, with every `share`-th person only: profile and events."""
    for name in data_sets:
        for part in ("profiles", "events"):
            file = f"{name}.{part}.parquet"
            table = pq.read_table(DATA / file)
            kept = [crc32(user.encode()) % share == 0 for user in table.column("user_id").to_pylist()]
            pq.write_table(table.filter(pa.array(kept)), folder / file)


def load(address: str, name: str, profiles_at: str, folder: Path = DATA) -> None:
    """Load one data set with `cdp import`."""
    profiles, events = (folder / f"{name}.{part}.parquet" for part in ("profiles", "events"))
    cdp("import", profiles, "--address", address, "--default-time", profiles_at)
    cdp("import", events, "--address", address)


def ask(client: Client, text: str, as_of: str, **options: Any) -> query_pb2.QueryResponse:
    """The cluster's answer as of a date or time in UTC."""
    stamp = to_timestamp(to_ms(datetime.fromisoformat(as_of).replace(tzinfo=UTC)))
    answer = client.query(query_pb2.QueryRequest(text=text, as_of=stamp, **options))
    assert answer.exact
    # An attempt that may still be completed is worth a flag, and changes no count.
    assert set(answer.flags) <= {"INCOMPLETE"}
    assert len(answer.coverage.answered) == answer.coverage.total
    return answer


def member_ids(client: Client, text: str, as_of: str) -> list[str]:
    """The ids the cluster lists, in its order."""
    stamp = to_timestamp(to_ms(datetime.fromisoformat(as_of).replace(tzinfo=UTC)))
    request = query_pb2.MembersRequest(text=text, as_of=stamp)
    stream = b"".join(response.arrow for response in client.members(request))
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    assert set(table.column("kind").to_pylist()) <= {"user_id"}
    ids: list[str] = table.column("id").to_pylist()
    return ids


def breakdown_of(rows: Iterable[query_pb2.BreakdownRow]) -> Counter[Any]:
    """A breakdown as counts by value."""
    return Counter({from_value(row.value): row.count for row in rows})
