"""Which partition a profile lives in, and the splitting of a batch by it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.cluster.partitioning import partitions_of, split
from cdp_store.ids import ANONYMOUS_ID, USER_ID, encode_identifier
from cdp_store.records.records import RecordBatch, Strings
from tests import strategies
from tests.raw_records import Record
from tests.shards import KEY, batch_of

# Computed once and written down: a change here would move every profile of every cluster there is.
FROZEN = (
    # kind, id, partition of 16, partition of 1024
    (USER_ID, "", 7, 327),
    (USER_ID, "ann", 7, 7),
    (USER_ID, "12347", 14, 222),
    (ANONYMOUS_ID, "ann", 8, 600),
    (USER_ID, "größe", 8, 456),
    (USER_ID, "x" * 512, 1, 193),
)
_SPREAD_IDS = 20_000
_SPREAD_PARTITIONS = 16


def _partition(kind: str, identifier: str, count: int, key: tuple[int, int] = KEY) -> int:
    return int(partitions_of(Strings.of([encode_identifier(kind, identifier)]), key, count)[0])


def test_the_partition_of_an_identifier_is_frozen() -> None:
    found = [(kind, name, _partition(kind, name, 16), _partition(kind, name, 1024)) for kind, name, *_ in FROZEN]
    assert tuple(found) == FROZEN


def test_the_secret_of_the_cluster_decides_the_partition() -> None:
    names = [f"u{number}" for number in range(100)]
    first = [_partition(USER_ID, name, 1024) for name in names]
    second = [_partition(USER_ID, name, 1024, (KEY[0], KEY[1] ^ 1)) for name in names]
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 5


def test_identifiers_spread_evenly_over_the_partitions() -> None:
    identities = Strings.of([encode_identifier(USER_ID, str(number)) for number in range(_SPREAD_IDS)])
    sizes = np.bincount(partitions_of(identities, KEY, _SPREAD_PARTITIONS), minlength=_SPREAD_PARTITIONS)
    expected = _SPREAD_IDS / _SPREAD_PARTITIONS
    assert sizes.min() > 0.85 * expected
    assert sizes.max() < 1.15 * expected


def test_an_identifier_falls_into_the_same_partition_whatever_stands_beside_it() -> None:
    names = [encode_identifier(USER_ID, f"u{number}") for number in range(50)]
    together = partitions_of(Strings.of(names), KEY, 7)
    alone = [int(partitions_of(Strings.of([name]), KEY, 7)[0]) for name in names]
    assert together.tolist() == alone


def _rows(batch: RecordBatch) -> list[tuple[object, ...]]:
    """Every record of a batch as plain values, in order."""
    return [
        (
            batch.identities[int(batch.record_identities[record])],
            None if batch.is_attributes()[record] else batch.names[batch.record_names[record]],
            int(batch.record_times[record]),
            batch.message_ids[record],
            tuple(
                (batch.keys[batch.triple_keys[triple]], int(batch.triple_kinds[triple]), _raw(batch, triple))
                for triple in range(batch.property_offsets[record], batch.property_offsets[record + 1])
            ),
        )
        for record in range(len(batch))
    ]


def _raw(batch: RecordBatch, triple: int) -> object:
    raw = int(batch.triple_raws[triple])
    return batch.strings[raw] if batch.triple_kinds[triple] in (4, 6) else raw


@given(strategies.records(40), st.sampled_from((1, 2, 3, 16)))
def test_splitting_loses_and_doubles_nothing_and_keeps_the_order(records: list[Record], count: int) -> None:
    whole = batch_of(records, b"id")
    rows = _rows(whole)
    taken = list[int]()
    for partition, (part, positions) in split(whole, KEY, count).items():
        assert part.batch_id == b"id"
        assert positions.tolist() == sorted(positions.tolist())
        assert _rows(part) == [rows[position] for position in positions]
        assert set(partitions_of(part.identities, KEY, count).tolist()) == {partition}
        taken.extend(positions.tolist())
    assert sorted(taken) == list(range(len(rows)))
