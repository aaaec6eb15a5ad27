"""Input that someone chose to do harm: rows 17 to 20 of the failures that must be survived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query.bind.bind import Binder
from cdp_query.language.parse import parse
from cdp_query.pipeline import check, evaluate
from cdp_query.tree import Context
from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.records.columnarise import columnarise
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import (
    EVENT_NAMES_MAX,
    LIST_ITEMS_MAX,
    NAME_BYTES_MAX,
    NESTING_DEPTH_MAX,
    PROPERTIES_PER_RECORD_MAX,
    PROPERTY_NAMES_MAX,
    STRING_BYTES_MAX,
)
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, Strings
from tests.router.encodings import Sent, msgpack_batch, msgpack_row, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.shards import KEY

# ------------------------------------------------------------------------------------------- 17: huge or deep payloads


def _deep(levels: int) -> Any:
    return {"m": _deep(levels - 1)} if levels else 1


def _at(what: str, size: int) -> tuple[str, dict[str, Any]]:
    """Event name and properties of a record that has `size` of something."""
    match what:
        case "name":
            return "n" * size, {}
        case "string":
            return "View", {"p": "s" * size}
        case "list":
            return "View", {"p": [1] * size}
        case "properties":
            return "View", {f"p{number}": 1 for number in range(size)}
    return "View", {"p": _deep(size - 1)}


CAPS = {
    "name": (NAME_BYTES_MAX, "EVENT_NAME_INVALID"),
    "string": (STRING_BYTES_MAX, "STRING_TOO_LONG"),
    "list": (LIST_ITEMS_MAX, "LIST_TOO_LONG"),
    "properties": (PROPERTIES_PER_RECORD_MAX, "TOO_MANY_PROPERTIES"),
    "depth": (NESTING_DEPTH_MAX, "NESTING_TOO_DEEP"),
}


@given(
    st.sampled_from(sorted(CAPS)),
    st.integers(-2, 3),
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sampled_from([msgpack_batch, protobuf_batch]),
)
@settings(max_examples=40)
def test_row_17_a_record_at_a_cap_is_taken_and_one_beyond_is_refused_alone(
    what: str, over: int, others: list[int], encode: Any
) -> None:
    cap, code = CAPS[what]
    name, values = _at(what, cap + over)
    records = [Sent("View", f"u{n}", NOW_MS, {"n": n}) for n in others]
    records.insert(others[0] % len(others), Sent(name, "ann", NOW_MS, values))
    found = columnarise(encode(map(msgpack_row, records) if encode is msgpack_batch else records), NOW_MS)
    wanted = [(others[0] % len(others), code)] if over > 0 else []
    assert [(error.index, error.code) for error in found.errors] == wanted
    assert len(found.batch) == len(records) - len(wanted)


# --------------------------------------------------------------------------------------------- 18: a million new names


def _events(names: tuple[str, ...], keys: tuple[str, ...], record_names: Any, triple_keys: Any) -> RecordBatch:
    """One event of one user per entry of `record_names`, with one integer property each."""
    count = len(record_names)
    return RecordBatch(
        b"",
        NOW_MS,
        Strings.of([encode_identifier("user_id", "ann")]),
        np.zeros(count, np.uint32),
        record_names.astype(np.uint16),
        np.full(count, NOW_MS, np.int64),
        np.arange(count + 1, dtype=np.uint32),
        Strings(np.zeros(count + 1, np.uint32), np.zeros(0, np.uint8)),
        triple_keys.astype(np.uint16),
        np.full(count, 2, np.uint8),
        np.ones(count, np.int64),
        Strings.of(()),
        names,
        keys,
    )


def test_row_18_a_million_distinct_names_are_capped_with_a_code_and_leave_no_memory_behind() -> None:
    partition, per_batch, taken = Partition(PartitionId(0), KEY), 62_500, 0
    numbers, codes = np.arange(per_batch), set[str]()
    for start in range(0, 500_000, per_batch):
        fresh = [tuple(f"{what} {n}" for n in range(start, start + per_batch)) for what in ("event", "property")]
        batch = _events(fresh[0], fresh[1], numbers if start else numbers // 250, numbers)
        admission = partition.admit(batch, partition.pending_ids())
        taken += len(admission.batch)
        assert len(admission.rejections) == per_batch - len(admission.batch)
        codes |= {each.code for each in admission.rejections}
        partition.apply(admission.batch, SequenceNumber(partition.sequence + 1))
    schema = partition.capture().schema
    assert len(schema.events) <= EVENT_NAMES_MAX and len(schema.properties) == PROPERTY_NAMES_MAX == taken
    assert codes == {"EVENT_NAMES_LIMIT", "PROPERTY_NAMES_LIMIT"}
    assert sum(partition.status().memory.values()) < 4 << 20
    known = _events(("event 0",), ("property 5",), np.zeros(1), np.zeros(1))
    assert not partition.admit(known, partition.pending_ids()).rejections, "known names go on"


# -------------------------------------------------------------------------------------------------------- 19: hot user


def test_row_19_a_user_with_a_million_events_neither_breaks_nor_widens_what_others_cost() -> None:
    """Work that grows with the square of a user's events would not end; work for others must not meet his events."""
    hot, others = 1_000_000, 1_000
    partition, chance = Partition(PartitionId(0), KEY), np.random.default_rng(19)
    users = Strings.of([encode_identifier("user_id", f"u{number}") for number in range(others + 1)])
    for start in range(0, hot + others, 100_000):
        count = min(100_000, hot + others - start)
        owners = np.maximum(np.arange(start, start + count) - hot + 1, 0)
        batch = _events(("A", "B"), ("n",), chance.integers(0, 2, count), np.zeros(count))
        moved = {
            "identities": users,
            "record_identities": owners.astype(np.uint32),
            "record_times": NOW_MS - chance.integers(0, 1 << 31, count),
        }
        whole = RecordBatch(**{name: getattr(batch, name) for name in RecordBatch.__slots__} | moved)
        partition.apply(whole, SequenceNumber(partition.sequence + 1))
        partition.maintain()
    partition.maintain(0)
    view, context = partition.capture(), Context(NOW_MS, "UTC")

    def counted(text: str) -> int:
        return evaluate(check(parse(text), context), view, Binder(context)).count

    assert counted(f'count("A") + count("B") >= {hot}') == 1
    assert counted('did("A")') + counted('not did("A")') == others + 1
    assert counted('funnel("A" -> "B" -> "A", within: 1h)') <= others + 1
    assert counted('sequence("A" -> "B" -> "A" -> "B", within: 1h)') == 1, "only he has four events"
    row = view.row_count - 1
    seen = [chunk.events_of_row(row) for name in (0, 1) for chunk in view.event_chunks(name)]
    assert sum(part.stop - part.start for part in seen) == 1, "a reading of one user touches his events alone"


# --------------------------------------------------------------------------------------------------- 20: hash flooding


def _aimed(key: HashKey, count: int) -> Strings:
    """Identifiers that under this key fall into one of 16 partitions and one of 64 slots there."""
    tried = [encode_identifier("user_id", f"flood-{number}") for number in range(count * 16 * 64)]
    table = Strings.of(tried)
    hashes = hash_strings(key, table)
    aimed = (partitions_of(table, key, 16) == 3) & (hashes >> np.uint64(58) == 7)
    return Strings.of([tried[number] for number in np.flatnonzero(aimed)])


def test_row_20_identifiers_aimed_at_one_slot_under_a_key_spread_under_the_secret_of_a_cluster(tmp_path: Path) -> None:
    guessed: HashKey = (0, 0)
    flood = _aimed(guessed, 200)
    assert len(flood) > 100
    keys = set[HashKey]()
    for number in range(2):
        key = ClusterDirectory(tmp_path / str(number)).load_or_create(2, 16).hash_key
        keys.add(key)
        assert np.bincount(partitions_of(flood, key, 16), minlength=16).max() < len(flood) / 2
        slots = hash_strings(key, flood) >> np.uint64(58)
        assert np.bincount(slots.astype(np.int64), minlength=64).max() < len(flood) / 4
    assert len(keys) == 2, "every cluster has a secret of its own"
    arena = StringArena(next(iter(keys)))
    index = np.arange(len(flood), dtype=np.uint32)
    arena.insert(index, flood, hash_strings(next(iter(keys)), flood))
    assert len(arena) == len(flood)
