"""What records came wrapped in: a cold column, through splits and joins of batches, logs, snapshots and old files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cdp_store.snapshot.cold.cold_tables as cold
from cdp_router.cluster.partitioning import split
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.records.records import RecordBatch, Strings, decode_batch, encode_batch, join_batches
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from tests.raw_records import Event, Record, user
from tests.shards import KEY, batch_of
from tests.store.snapshot.test_cold import forget_log, opened

ANN, BOB = user("ann"), user("bob")
TEXTS = ("", '{"library":"a"}', '{"library":"größe"}', '{"n":1}')


def wrapped(records: list[Record], numbers: list[int]) -> RecordBatch:
    """A batch of records, each in the text of that number; 0: in none."""
    texts = Strings.of(text.encode() for text in TEXTS)
    return replace(batch_of(records), envelopes=texts, record_envelopes=np.array(numbers, np.uint32))


def told(batch: RecordBatch) -> list[tuple[str, str]]:
    """(message id, envelope) of each record."""
    numbers = batch.record_envelopes.tolist() or [None] * len(batch)
    return [
        (batch.message_ids[at].decode(), "" if number is None else batch.envelopes[number].decode())
        for at, number in enumerate(numbers)
    ]


def deliver(store: Store, batch: RecordBatch) -> None:
    store.commit([Delivery(PartitionId(0), batch)])


def read(store: Store, who: tuple[str, str] = ANN) -> list[str | None]:
    """The envelopes of one person's records, in order of arrival."""
    rows = store.receipts(PartitionId(0), [encode_identifier(*who)]).rows.to_pylist()
    return [row["envelope"] for row in rows]


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 5))
def test_parts_of_a_batch_and_batches_joined_keep_the_envelope_of_each_record(numbers: list[int], parts: int) -> None:
    batch = wrapped([Event(user(f"u{n}"), "View", n, {}, f"m{n}") for n in range(len(numbers))], numbers)
    whole = told(batch)
    assert told(decode_batch(encode_batch(batch))) == whole
    cut = {number: part for number, (part, _) in split(batch, KEY, parts).items()}
    assert sorted(each for part in cut.values() for each in told(part)) == sorted(whole)
    without = batch_of([Event(ANN, "View", 1, {}, "plain")])
    joined = told(join_batches([without, batch, without, batch]))
    assert joined == [("plain", ""), *whole, ("plain", ""), *whole]


def test_envelopes_are_read_from_the_log_and_from_files(tmp_path: Path) -> None:
    views: list[Record] = [Event(ANN, "View", n, {}, f"m{n}") for n in range(3)]
    expected: list[str | None] = [TEXTS[1], None, TEXTS[2], None, TEXTS[3]]
    with opened(tmp_path) as store:
        deliver(store, wrapped(views, [1, 0, 2]))
        deliver(store, batch_of([Event(ANN, "Buy", 9, {}, "without")]))
        deliver(store, wrapped([Event(BOB, "View", 1, {}, "b"), Event(ANN, "View", 7, {}, "m7")], [1, 3]))
        assert read(store) == expected
        store.snapshot(0)
        deliver(store, wrapped([Event(ANN, "View", 8, {}, "m8")], [2]))
        assert read(store) == [*expected, TEXTS[2]]
        store.snapshot(0)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert read(store) == [*expected, TEXTS[2]]
        assert read(store, BOB) == [TEXTS[1]]
        store.erase(PartitionId(0), [encode_identifier(*ANN)])
        store.snapshot(0)
        assert read(store) == [] and read(store, BOB) == [TEXTS[1]]


def test_files_from_before_envelopes_are_read_and_joined_with_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        deliver(store, batch_of([Event(ANN, "View", 1, {}, "old")]))
        with monkeypatch.context() as patch:
            table_of = cold.table_of
            patch.setattr(
                "cdp_store.snapshot.cold.logged_rows.table_of", lambda *given: table_of(*given).drop("envelope")
            )
            store.snapshot(0)
        for number in range(20):  # more small files than are kept
            deliver(store, wrapped([Event(ANN, "View", number, {}, f"m{number}")], [1]))
            store.snapshot(0)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert read(store) == [None, *[TEXTS[1]] * 20]
        assert store.verify_snapshots().problems == []
