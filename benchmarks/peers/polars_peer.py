"""Polars: one frame of events per name, each sorted by user and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import polars as pl

from benchmarks.dataset import Dataset
from benchmarks.peers.polars_queries import QUERIES, Tables
from benchmarks.scales import AS_OF_MS, CATEGORIES, CHANNELS, COUNTRIES, DEVICES, EVENT_NAMES, PLANS, PROPERTIES_OF
from benchmarks.timings import Inner

_CODES: Final[Mapping[str, pl.Enum]] = {
    "plan": pl.Enum(PLANS),
    "country": pl.Enum(COUNTRIES),
    "channel": pl.Enum(CHANNELS),
    "device": pl.Enum(DEVICES),
}
_KEYS: Final = ("user", "ts")


class PolarsPeer:
    """Frames in memory, queried lazily."""

    name = "polars"
    version = pl.__version__
    inner: Inner | None = None

    def __init__(self) -> None:
        self.memory_bytes = 0
        self._tables: Tables | None = None

    def load(self, dataset: Dataset) -> None:
        """Read Parquet into sorted, coded frames and account for them."""
        read = pl.read_parquet(dataset.profiles).with_row_index("user")
        users = read.select("user", "user_id")
        changes = _changes(dataset, users)
        profiles = _profiles(read, changes)
        events = _events(dataset, users)
        frames = (users, changes, profiles, *events.values())
        self.memory_bytes = sum(int(frame.estimated_size()) for frame in frames)
        self._tables = Tables(users.lazy(), changes.lazy(), profiles.lazy(), {n: f.lazy() for n, f in events.items()})

    def run(self, query_name: str) -> Any:
        """Evaluate the query's expression."""
        assert self._tables is not None, "load first"
        query: Callable[[Tables], Any] = QUERIES[query_name]
        return query(self._tables)

    def close(self) -> None:
        """Drop the frames."""
        self._tables = None


def _codes(*names: str) -> list[pl.Expr]:
    return [pl.col(name).cast(pl.String).cast(_CODES[name]) for name in names]


def _changes(dataset: Dataset, users: pl.DataFrame) -> pl.DataFrame:
    changes = pl.read_parquet(dataset.changes).join(users, on="user_id")
    return changes.select("user", pl.col("time").dt.epoch("ms"), *_codes("plan", "country")).sort("user", "time")


def _profiles(read: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Current attributes, with the first plan and country kept for questions about the past."""
    latest = changes.filter(pl.col("time") <= AS_OF_MS).group_by("user").agg(pl.col("plan", "country").last())
    first = read.with_columns(*_codes(*_CODES), pl.col("set_at", "signup_time", "last_login").dt.epoch("ms"))
    first = first.drop("user_id").rename({"plan": "first_plan", "country": "first_country"})
    joined = first.join(latest, on="user", how="left", maintain_order="left")
    return joined.with_columns(
        pl.coalesce("plan", "first_plan").alias("plan"), pl.coalesce("country", "first_country").alias("country")
    ).with_columns(pl.col("user").set_sorted())


def _events(dataset: Dataset, users: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = pl.scan_parquet(dataset.event_parts).join(users.lazy(), on="user_id")
    columns = (
        "user",
        pl.col("ts").dt.epoch("ms"),
        "amount",
        pl.col("category").cast(pl.String).cast(pl.Enum(CATEGORIES)),
        pl.col("quantity").cast(pl.UInt8),
        "flag",
        "order_id",
    )
    name = pl.col("event").cast(pl.String).cast(pl.Enum(EVENT_NAMES))
    whole = parts.select(name, *columns).sort("event", "user", "ts").collect()
    by_name = whole.partition_by("event", as_dict=True, include_key=False)
    empty = whole.clear().drop("event")
    # A frame keeps only the properties that its name carries: an empty string column costs 16 bytes a row.
    frames = {event: by_name.get((event,), empty).select(_KEYS + PROPERTIES_OF[event]) for event in EVENT_NAMES}
    return {event: frame.with_columns(pl.col("user").set_sorted()) for event, frame in frames.items()}
