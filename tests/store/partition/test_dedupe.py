"""Message ids and batch ids: taken once, remembered in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.errors import BatchMalformed
from cdp_store.identity.identity_changes import TakenElsewhere, decode_identity_change, encode_identity_change
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.partition.dedupe import (
    BatchIds,
    IdGeneration,
    IdSet,
    MessageIds,
    hash_ids,
    hash_records,
    identified,
    repeated,
)
from cdp_store.reading.absence import scan_files
from cdp_store.records.records import Strings
from cdp_store.shard.admission import Delivery
from tests.raw_records import Event, User, user
from tests.shards import KEY, Shards, batch_of
from tests.store.snapshot.test_snapshot import opened

ANN = user("ann")


def seen(ids: MessageIds, texts: list[bytes]) -> list[bool]:
    hashed = hash_ids(KEY, Strings.of(texts))
    return (ids.seen(*hashed) | repeated(*hashed)).tolist()


def test_messages_taken_elsewhere_are_read_back_or_refused() -> None:
    told = TakenElsewhere(*hash_ids(KEY, Strings.of([b"1", b"2"])), 77)
    packed = encode_identity_change(told)
    found = decode_identity_change(packed)
    assert isinstance(found, TakenElsewhere) and found.received_ms == 77
    assert (found.high == told.high).all() and (found.low == told.low).all()
    fields = msgpack.unpackb(packed)
    for wrong in ({"ids": fields["ids"][:1]}, {"ids": [*fields["ids"][:1], b""]}, {"received": "now"}):
        with pytest.raises(BatchMalformed):
            decode_identity_change(msgpack.packb(fields | wrong))


def add(ids: MessageIds, texts: list[bytes], received_ms: int = 0) -> None:
    ids.add(*hash_ids(KEY, Strings.of(texts)), received_ms)


_TEXTS = st.sampled_from([b"", b"a", b"bb", b"c" * 17])


@given(st.lists(st.tuples(_TEXTS, st.sampled_from([b"uann", b"abob"]), _TEXTS), min_size=1, max_size=8), st.booleans())
def test_one_pass_hashes_ids_with_identifiers_like_the_parts_do(
    rows: list[tuple[bytes, bytes, bytes]], given: bool
) -> None:
    ids, owners, givers = (Strings.of(list(texts)) for texts in zip(*rows, strict=True))
    numbers = np.arange(len(rows), dtype=np.uint32)
    batch = replace(
        batch_of([Event(ANN, "E", number, {}) for number in range(len(rows))]),
        message_ids=ids,
        identities=owners,
        record_identities=numbers,
        givers=givers if given else Strings.of([]),
        record_givers=numbers if given else numbers[:0],
    )
    found, alone = hash_records(KEY, batch), hash_ids(KEY, ids)
    named = Strings.of([giver if giver and given else owner for _, owner, giver in rows])
    expected = identified(alone, hash_ids(KEY, named))
    assert np.array_equal(found.alone, alone) and np.array_equal((found.high, found.low), expected)


@given(st.lists(st.lists(st.sampled_from([b"", b"a", b"b", b"c", b"dd", b"\0"]), max_size=6), max_size=6))
@settings(max_examples=100)
def test_an_id_is_seen_from_its_second_time_on(batches: list[list[bytes]]) -> None:
    ids, known = MessageIds(KEY), set[bytes]()
    for batch in batches:
        expected, here = list[bool](), set(known)
        for text in batch:
            expected.append(text != b"" and text in here)
            here.add(text)
        assert seen(ids, batch) == expected
        add(ids, batch)
        known = here


def test_growth_forgets_nothing() -> None:
    ids = MessageIds(KEY)
    texts = [str(number).encode() for number in range(5000)]
    for start in range(0, 5000, 900):
        add(ids, texts[start : start + 900])
    assert all(seen(ids, texts))
    assert not any(seen(ids, [b"5000", b"x"]))


def test_the_last_generation_is_always_remembered_and_memory_is_bounded() -> None:
    ids = MessageIds(KEY, capacity=100)
    for number in range(1000):
        add(ids, [str(number).encode()])
        recent = [str(earlier).encode() for earlier in range(max(0, number - 99), number + 1)]
        assert all(seen(ids, recent))
    assert not any(seen(ids, [b"0", b"500"]))


def test_a_batch_larger_than_a_generation_is_remembered_whole() -> None:
    ids = MessageIds(KEY, capacity=10)
    texts = [str(number).encode() for number in range(50)]
    add(ids, texts)
    assert all(seen(ids, texts))


def test_row_11_an_id_is_remembered_for_the_window_and_forgotten_after_two() -> None:
    ids = MessageIds(KEY, capacity=1000, window_ms=100)
    sent = list[bytes]()
    for at_ms, text in ((0, b"a"), (100, b"b"), (101, b"c"), (201, b"d")):
        add(ids, [text], at_ms)
        sent.append(text)
        assert all(seen(ids, sent))
    add(ids, [b"e"], 202)
    assert seen(ids, [b"a", b"b", b"c", b"d", b"e"]) == [False, False, True, True, True]
    held = ids.nbytes
    for number in range(50):
        add(ids, [b"late %d" % number], 1000 + 101 * number)
        assert ids.nbytes <= held


def test_row_10_a_clock_that_jumps_ahead_forgets_no_more_than_the_older_generation() -> None:
    ids = MessageIds(KEY, capacity=1000, window_ms=100)
    add(ids, [b"a"], 0)
    add(ids, [b"b"], 10**15)
    add(ids, [b"c"], 20)
    add(ids, [b"d"], 500)
    assert all(seen(ids, [b"a", b"b", b"c", b"d"]))


def test_what_is_remembered_can_be_handed_on() -> None:
    ids, heir = MessageIds(KEY, capacity=3), MessageIds(KEY, capacity=3)
    add(heir, [b"other"], 1)
    for number in range(5):
        add(ids, [b"m%d" % number], number)
    heir.remember(ids.generations())
    texts = [b"m0", b"m1", b"m2", b"m3", b"m4", b"other"]
    for number in range(5, 12):
        assert seen(heir, texts) == seen(ids, texts)
        texts.append(b"m%d" % number)
        for each in (ids, heir):
            add(each, texts[-1:], number)
    heir.remember(())
    assert not any(seen(heir, texts))


def test_ids_of_older_versions_are_known_whatever_the_identifier_until_the_next_generation_is_full_or_old() -> None:
    older = IdSet(0)
    older.add(*hash_ids(KEY, Strings.of([b"old"])))
    records = [batch_of([Event(who, "View", 1, {}, "old")]) for who in (ANN, user("bob"))]

    def known(ids: MessageIds) -> list[bool]:
        return [bool(ids.known(ids.hash(batch))[0]) for batch in records]

    for full in (True, False):
        ids = MessageIds(KEY, capacity=3, window_ms=100)
        ids.remember([IdGeneration(0, older.table, of_identifiers=False)])
        for number in range(3):
            add(ids, [b"m%d" % number], 50 + number)
            assert known(ids) == [True, True]
        heir = MessageIds(KEY, capacity=3, window_ms=100)
        heir.remember(ids.generations())
        for each in (ids, heir):
            add(each, [b"next"], 60 if full else 152)
            assert known(each) == [False, False]
            assert seen(each, [b"m0", b"m1", b"m2", b"next"]) == [True] * 4


def test_an_id_counts_for_the_identifier_that_names_its_record() -> None:
    ids = MessageIds(KEY)
    hashed = ids.hash(batch_of([Event(ANN, "View", 1, {}, "m1"), Event(ANN, "View", 2)]))
    assert hashed.given.tolist() == [True, False]
    ids.add(hashed.high, hashed.low)
    others = [User("email", "ann"), User("anonymous_id", "ann"), user("an"), ANN]
    for other in others:
        for name in ("m1", "m2", ""):
            again = ids.hash(batch_of([Event(other, "Buy", 3, {"n": 1}, name)]))
            assert ids.known(again).tolist() == [(other, name) == (ANN, "m1")]


def test_the_empty_id_is_never_seen() -> None:
    ids = MessageIds(KEY)
    add(ids, [b"", b""])
    assert seen(ids, [b"", b"", b"a"]) == [False, False, False]


def test_marks_of_erased_identifiers_stay_for_as_long_as_the_ids_before_them() -> None:
    ids, batches = MessageIds(KEY, capacity=2), BatchIds(capacity=2)
    ann, bob = Strings.of([b"uann"]), Strings.of([b"ubob"])
    marks = ids.marks(ann)
    assert not ids.seen(*marks).any() and (batches.erased_at(marks) < 0).all()
    batches.add(b"before", SequenceNumber(1))
    ids.forget(marks, [], [], 5)
    batches.forget(marks, SequenceNumber(2))
    for _ in range(2):
        assert ids.seen(*marks).all() and batches.erased_at(marks).tolist() == [2]
        assert not ids.seen(*ids.marks(bob)).any() and batches.erased_at(ids.marks(bob)).tolist() == [-1]
        ids.remember(ids.generations())
    batches.add(b"after", SequenceNumber(3))
    assert batches.erased_at(marks).tolist() == [2] and b"before" not in dict(batches.items())
    again = BatchIds(capacity=2)
    for batch_id, sequence in batches.items():
        again.add(batch_id, sequence)
    assert again.erased_at(marks).tolist() == [2]
    again.add(b"last", SequenceNumber(4))
    assert again.erased_at(marks).tolist() == [-1]
    assert (ids.marks(Strings.of([b""]))[0] == 0).all()


def test_batch_ids_give_the_sequence_and_forget_the_oldest() -> None:
    known = BatchIds(capacity=2)
    batches = [batch_of([Event(ANN, "View", 1)], name) for name in (b"x", b"y", b"z", b"")]
    for number, batch in enumerate(batches, start=1):
        known.add(batch.batch_id, SequenceNumber(number))
    assert [known.get(batch) for batch in batches] == [None, 2, 3, None]


def test_admission_takes_repeated_records_out_and_keeps_the_rest_whole() -> None:
    partition = Shards().partitions[0]
    first = batch_of([Event(ANN, "View", 1, {"a": "x"}, "m1"), Event(ANN, "View", 2, {"a": "y"}, "m2")])
    admission = partition.admit(first, partition.pending_ids())
    assert (admission.duplicates, len(admission.batch)) == (0, 2)
    assert admission.batch is first
    partition.apply(admission.batch, SequenceNumber(1))
    second = batch_of(
        [
            Event(ANN, "View", 3, {"a": "z"}, "m3"),
            Event(ANN, "View", 1, {"a": "x"}, "m1"),
            Event(user("bob"), "Buy", 4, {"b": "z"}, "m3"),
            Event(ANN, "View", 5),
            Event(user("bob"), "Buy", 4, {"b": ["w"]}, "m3"),
        ]
    )
    admission = partition.admit(second, partition.pending_ids())
    assert admission.known.tolist() == [1, 4]
    assert admission.batch.record_times.tolist() == [3, 4, 5], "Bob's m3 is another message than Ann's"
    assert len(admission.batch.identities) == 2, "only what the kept records use"
    assert [admission.batch.strings[i] for i in range(1)] == [b"z"]


def test_ids_pending_in_one_group_count_as_seen() -> None:
    partition = Shards().partitions[0]
    pending = partition.pending_ids()
    batch = batch_of([Event(ANN, "View", 1, {}, "m1")])
    assert partition.admit(batch, pending).duplicates == 0
    assert partition.admit(batch, pending).duplicates == 1
    assert partition.admit(batch, partition.pending_ids()).duplicates == 0, "nothing was applied yet"


def test_an_id_of_a_record_sent_on_counts_for_the_identifier_it_came_under(tmp_path: Path) -> None:
    device = encode_identifier("anonymous_id", "d")
    own = batch_of([Event(ANN, "View", 1, {}, "1"), Event(ANN, "View", 2, {}, "2")])
    sent_on = replace(own, givers=Strings.of([b"", device]), record_givers=np.array([1, 0], np.uint32))
    ids = MessageIds(KEY)
    of_device = ids.hash(batch_of([Event(User("anonymous_id", "d"), "View", 3, {}, "1")]))
    hashed = ids.hash(sent_on)
    assert hashed.high.tolist() == [of_device.high[0], ids.hash(own).high[1]]
    with opened(tmp_path) as store:
        for batch, accepted in ((sent_on, 2), (own, 1), (sent_on, 0), (own, 0)):
            [outcome] = store.commit([Delivery(PartitionId(0), batch)])
            assert outcome.accepted == accepted
    with opened(tmp_path) as store:
        assert [store.commit([Delivery(PartitionId(0), batch)])[0].accepted for batch in (sent_on, own)] == [0, 0]
    assert scan_files(tmp_path, [device]).found, "the log names the identifier, and a receipt must say so"
