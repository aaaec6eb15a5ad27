"""The digest of a partition: equal exactly when the contents are."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.ids import PartitionId
from cdp_store.memory.digest import Digest, digest
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from tests import strategies
from tests.raw_records import Change, Event, Record, User, user
from tests.shards import KEY, Shards, batch_of, filled
from tests.store.contents import expected_contents

ANN, BOB = user("ann"), user("bob")


def digest_of(records: list[Record], partitions: int = 1, *, portion: int = 0, seal: bool = False) -> Digest:
    """Digest of records spread over partitions, applied in portions, sealed after each or not."""
    shards = Shards(partitions)
    for start in range(0, len(records), portion or max(len(records), 1)):
        shards.apply(records[start : start + (portion or len(records))])
        if seal:
            shards.seal()
    return sum((digest(view) for view in shards.capture()), Digest())


@given(strategies.records(), st.integers(1, 7))
@settings(max_examples=40)
def test_layout_and_partitioning_do_not_show(records: list[Record], portion: int) -> None:
    whole = digest_of(records)
    assert digest_of(records, portion=portion, seal=True) == whole
    assert digest_of(records, 3, portion=portion) == whole
    assert digest_of(records, 3, seal=True) == whole


def _told(records: list[Record]) -> list[str]:
    """What records say, in no order; a change of nothing only says that there is somebody."""
    changes = [record for record in records if isinstance(record, Change)]
    had = {(each.user, name) for each in changes for name, value in each.attributes.items() if value is not None}
    told = [_given(record, had) for record in records]
    return sorted(repr(record) for record in told if isinstance(record, Event) or record.attributes)


def _given(record: Record, had: set[tuple[User, str]]) -> Record:
    """A record without what says nothing: properties without a value, removals of what a user never had."""
    if isinstance(record, Event):
        properties = {name: value for name, value in record.properties.items() if value is not None}
        return replace(record, properties=properties)
    kept = {name: value for name, value in record.attributes.items() if value is not None or (record.user, name) in had}
    return replace(record, attributes=kept)


@given(strategies.records(12), strategies.records(12))
@settings(max_examples=100)
def test_different_contents_differ(one: list[Record], other: list[Record]) -> None:
    same = digest_of(one) == digest_of(other)
    if expected_contents(one) != expected_contents(other):
        assert not same
    if same:
        assert _told(one) == _told(other)


def test_each_part_of_a_record_counts() -> None:
    base = [Event(ANN, "View", 5, {"a": 1}), Change(ANN, 7, {"b": "x"}), Event(BOB, "View", 5, {"a": 1, "c": 2.5})]
    variants: list[list[Record]] = [
        base,
        base[:2],
        base[1:],
        [*base, Event(ANN, "View", 5, {"a": 1})],
        [Event(BOB, "View", 5, {"a": 1}), *base[1:]],
        [Event(ANN, "Buy", 5, {"a": 1}), *base[1:]],
        [Event(ANN, "View", 6, {"a": 1}), *base[1:]],
        [Event(ANN, "View", 5, {"a": 1.0}), *base[1:]],
        [Event(ANN, "View", 5, {"a": True}), *base[1:]],
        [Event(ANN, "View", 5, {"a": "1"}), *base[1:]],
        [Event(ANN, "View", 5, {"z": 1}), *base[1:]],
        [Event(ANN, "View", 5, {}), *base[1:]],
        [base[0], Change(ANN, 7, {"b": "y"}), base[2]],
        [base[0], Change(ANN, 8, {"b": "x"}), base[2]],
        [base[0], Change(ANN, 7, {"b": None}), base[2]],
        [base[0], Change(ANN, 7, {"b": ["x"]}), base[2]],
        [*base, Change(ANN, 7, {"b": "x"})],
        [*base, Change(BOB, 1, {})],
        [*base[:2], Event(BOB, "View", 5, {"a": 2, "c": 1.5})],
    ]
    digests = [digest_of(variant) for variant in variants]
    assert len(set(digests)) == len(variants)


def test_the_order_of_arrival_counts_among_equal_times_only() -> None:
    first, second, later = (Event(ANN, "View", ts, {"a": a}) for ts, a in ((5, 1), (5, 2), (6, 3)))
    assert digest_of([first, second, later]) == digest_of([later, first, second])
    assert digest_of([first, second]) != digest_of([second, first])
    shards = Shards()
    for event in (first, second):
        shards.apply([event])
        shards.seal()
    assert digest(shards.capture()[0]) == digest(filled([first, second]).capture())


def test_nothing_has_the_neutral_digest() -> None:
    assert digest_of([]) == Digest()
    assert str(Digest(1, 2)) == "00000000000000010000000000000002"


@given(st.lists(st.lists(st.tuples(strategies.records(10), st.integers(0, 1)), max_size=4), max_size=4), st.booleans())
@settings(max_examples=25)
def test_a_recovered_store_has_the_digest_of_the_live_one(
    groups: list[list[tuple[list[Record], int]]], maintain: bool
) -> None:
    identity = ShardIdentity("test", 0, (0, 1))
    found = list[list[Digest]]()
    with tempfile.TemporaryDirectory() as directory:
        for todo in (groups, []):
            store = Store(Path(directory), identity, KEY, OsFiles())
            store.recover(lambda *_: None)
            for group in todo:
                store.commit([Delivery(PartitionId(partition), batch_of(batch)) for batch, partition in group])
                if maintain:
                    store.maintain(0)
            found.append([digest(partition.capture()) for partition in store.partitions.values()])
            store.close()
    assert found[0] == found[1]
