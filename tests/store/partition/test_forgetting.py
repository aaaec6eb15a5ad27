"""Event names that are forgotten: nothing is left of them, other names keep their events, and there is room again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.columns.dictionary import scope_of
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import ATTRIBUTE_NAMES_MAX, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX
from cdp_store.log.controls import FORGOTTEN_MS, Retention
from cdp_store.memory.digest import digest
from cdp_store.partition.forgetting import forgetting
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch, decode_batch, encode_batch
from cdp_store.shard.admission import Delivery, admit, apply_pending
from tests.shards import KEY
from tests.store.contents import read_contents

NOW_MS = 1_767_225_600_000


def _batch(names: list[str], at: int = 0) -> RecordBatch:
    builder = BatchBuilder()
    for number, name in enumerate(names):
        builder.add("user_id", f"u{number % 3}", name, NOW_MS + at + number, _properties(name, number))
    return builder.finish()


def _properties(name: str, number: int) -> dict[str, object]:
    """Some that all events have, some that only events of this name have, and some of either kind."""
    own = {f"only {name}": f"{name} {number}", f"list {name}": [name, f"{number}"]}
    return {"n": number, "text": f"t{number}", **own, **({} if number % 2 else {"even": name})}


def _take(partition: Partition, batch: RecordBatch) -> int:
    """Take what may be taken; how many records that is."""
    admission = partition.admit(batch, partition.pending_ids())
    partition.apply(admission.batch, SequenceNumber(partition.sequence + 1))
    return len(admission.batch)


def _forget(partition: Partition, names: list[str]) -> None:
    partition.retain(Retention({}, dict.fromkeys(names, FORGOTTEN_MS)), SequenceNumber(partition.sequence + 1))


NAMES = ["A", "B", "C", "D", "E"]


@given(
    st.lists(st.sampled_from(NAMES), max_size=40), st.sets(st.sampled_from(NAMES)), st.booleans(),
    st.lists(st.sampled_from([*NAMES, "F"]), max_size=20),
)  # fmt: skip
@settings(max_examples=60)
def test_a_partition_is_what_it_were_if_the_names_had_never_come(
    before: list[str], gone: set[str], sealed: bool, after: list[str]
) -> None:
    partition, other = Partition(PartitionId(0), KEY), Partition(PartitionId(0), KEY)
    _take(partition, _batch(before))
    if sealed:
        partition.maintain(0)
    _forget(partition, sorted(gone))
    partition.purge()
    partition.validate()
    known = partition.capture().schema.events
    assert gone.isdisjoint(known) and sorted(known.values()) == list(range(len(known)))
    if gone:
        left = {key for number, name in enumerate(before) if name not in gone for key in _properties(name, number)}
        assert set(partition.capture().schema.properties) == left
    _take(partition, _batch(after, 1000))
    partition.maintain(0)
    partition.validate()
    # Users exist since their first record, also where that is forgotten: only events are compared.
    kept = [(number, name) for number, name in enumerate(before) if name not in gone]
    builder = BatchBuilder()
    for number, name in kept:
        builder.add("user_id", f"u{number % 3}", name, NOW_MS + number, _properties(name, number))
    _take(other, builder.finish())
    _take(other, _batch(after, 1000))
    other.maintain(0)
    assert read_contents(partition.capture()).events == read_contents(other.capture()).events


def test_a_flood_of_names_is_undone_and_names_come_in_again() -> None:
    partition = Partition(PartitionId(0), KEY)
    assert _take(partition, _batch(["Order"])) == 1
    flood = [f"flood {number}" for number in range(EVENT_NAMES_MAX + 50)]
    _take(partition, _batch(flood))
    assert _take(partition, _batch(["Signup"])) == 0
    _forget(partition, [name for name in partition.capture().schema.events if name.startswith("flood")])
    assert partition.awaits_purge
    partition.purge()
    assert not partition.awaits_purge
    assert _take(partition, _batch(["Signup"])) == 1
    assert sorted(partition.capture().schema.events) == ["Order", "Signup"]


def test_a_name_that_is_used_again_before_it_is_freed_opens_no_way_around_the_limit() -> None:
    partition = Partition(PartitionId(0), KEY)
    flood = [f"flood {number}" for number in range(EVENT_NAMES_MAX)]
    _take(partition, _batch(flood))
    _forget(partition, flood[:1])
    assert _take(partition, _batch(["one more", flood[0]])) == 2
    partition.purge()
    assert len(partition.capture().schema.events) == EVENT_NAMES_MAX + 1
    assert _take(partition, _batch([f"more {number}" for number in range(50)])) == 0
    assert len(partition.capture().schema.events) == EVENT_NAMES_MAX + 1


def test_views_from_before_keep_what_is_forgotten() -> None:
    partition = Partition(PartitionId(0), KEY)
    _take(partition, _batch(["A", "B", "A"]))
    view = partition.capture()
    _forget(partition, ["A"])
    partition.purge()
    assert sum(map(len, view.event_chunks(view.schema.events["A"]))) == 2


@given(with_ids=st.booleans(), batch_id=st.sampled_from([b"", b"b"]), in_one_group=st.booleans())
@settings(max_examples=8, deadline=None)
def test_what_limits_rejected_is_tried_again_and_what_was_taken_is_not_taken_twice(
    with_ids: bool, batch_id: bytes, in_one_group: bool
) -> None:
    """With message ids, live and as replayed from what was logged; without them the batch is known as a whole."""
    number = PartitionId(0)
    live, replayed = Partition(number, KEY), Partition(number, KEY)
    logged = list[RecordBatch]()

    def commit(*batches: RecordBatch) -> list[tuple[int, int, int]]:
        outcomes, pending = admit({number: live}, [Delivery(number, batch) for batch in batches])
        for each in pending:
            assert isinstance(each.meaning, RecordBatch)
            logged.append(decode_batch(encode_batch(each.meaning)))
        apply_pending({number: live}, pending)
        return [(each.accepted, each.duplicates, len(each.rejections)) for each in outcomes]

    commit(_batch([f"flood {each}" for each in range(EVENT_NAMES_MAX - 1)]))
    builder = BatchBuilder()
    for at, name in enumerate(("flood 1", "new 1", "new 2")):
        builder.add("user_id", "u", name, NOW_MS, {}, f"m{at}" if with_ids else "")
    batch = replace(builder.finish(), batch_id=batch_id)
    if in_one_group and (with_ids or batch_id):
        assert commit(batch, batch) == [(2, 0, 1), (0, 2, 1) if with_ids else (0, 3, 0)]
    else:
        assert commit(batch) == [(2, 0, 1)]
    for partition in (live, replayed):
        if partition is replayed:
            for each in logged:
                replayed.apply(each, SequenceNumber(replayed.sequence + 1))
        _forget(partition, [name for name in partition.capture().schema.events if name.startswith("flood 2")])
        partition.purge()
        outcomes, _ = admit({number: partition}, [Delivery(number, batch)])
        wanted = (1, 2) if with_ids else (0, 3) if batch_id else (3, 0)
        assert (outcomes[0].accepted, outcomes[0].duplicates) == wanted


def _has(properties: Iterable[str], name: str, at: int = 0) -> RecordBatch:
    builder = BatchBuilder()
    for number, each in enumerate(properties):
        builder.add("user_id", f"u{number % 3}", name, NOW_MS + at + number, {each: f"text {each}"})
    return builder.finish()


def _properties_of(partition: Partition) -> list[str]:
    return list(partition.capture().schema.properties)


def test_a_flood_of_properties_goes_with_the_events_that_had_them() -> None:
    partition = Partition(PartitionId(0), KEY)
    _take(partition, _has(["amount"], "Order"))
    _take(partition, _has([f"flood {number}" for number in range(PROPERTY_NAMES_MAX)], "Flood"))
    late = _has(["late"], "Order", 9)
    assert _take(partition, late) == 0
    _forget(partition, ["Flood"])
    partition.purge()
    partition.validate()
    assert _properties_of(partition) == ["amount"]
    assert _take(partition, late) == 1 and _properties_of(partition) == ["amount", "late"]
    assert not partition.awaits_purge


def test_a_property_that_is_used_again_while_others_are_freed_stays() -> None:
    partition = Partition(PartitionId(0), KEY)
    _take(partition, _has(["amount"], "Order"))
    _take(partition, _has(["a", "b"], "Flood"))
    _forget(partition, ["Flood"])
    admission = partition.admit(_has(["b", "new"], "Order", 5), partition.pending_ids())
    partition.purge()
    assert _properties_of(partition) == ["amount", "new"], "what came later is about to be applied"
    partition.apply(admission.batch, SequenceNumber(partition.sequence + 1))
    partition.validate()
    assert set(_properties_of(partition)) == {"amount", "new", "b"}
    view = partition.capture()
    texts = {name: number for name, number in view.schema.properties.items()}
    assert all(view.dictionary.lookup(scope_of(texts[name], attribute=False, is_list=False), b"text " + name.encode())
               is not None for name in texts)  # fmt: skip


def test_unused_properties_are_freed_when_asked_for_alone() -> None:
    number = PartitionId(0)
    partition = Partition(number, KEY)
    _take(partition, _has(["amount"], "Order"))
    assert forgetting({number: partition.capture()}, (), unused=True) == {}
    builder = BatchBuilder()
    builder.add("user_id", "gone", "Order", NOW_MS, {"of one": 1})
    _take(partition, builder.finish())
    partition.erase([encode_identifier("user_id", "gone")], SequenceNumber(partition.sequence + 1))
    partition.purge()
    assert _properties_of(partition) == ["amount", "of one"]
    [change] = forgetting({number: partition.capture()}, (), unused=True).values()
    partition.retain(change, SequenceNumber(partition.sequence + 1))
    exported = partition.export().view
    assert list(exported.schema.properties) == ["amount"], "a snapshot has them no longer"
    partition.purge()
    partition.validate()
    assert _properties_of(partition) == ["amount"]


def _changes(names: Iterable[str], user: str = "u", at: int = 0) -> RecordBatch:
    builder = BatchBuilder()
    for number, name in enumerate(names):
        said: dict[str, object] = {name: f"{name} {number}", "plan": ["gold", f"{number}"]}
        builder.add("user_id", f"{user}{number % 5}", None, NOW_MS + at + number, said)
    return builder.finish()


def _erase(partition: Partition, user: str) -> None:
    identifiers = [encode_identifier("user_id", f"{user}{number}") for number in range(5)]
    partition.erase(identifiers, SequenceNumber(partition.sequence + 1))


def _forget_unused(partition: Partition) -> bool:
    """Free names that nothing uses; whether there were any."""
    wanted = forgetting({partition.partition: partition.capture()}, (), unused=True)
    for change in wanted.values():
        partition.retain(change, SequenceNumber(partition.sequence + 1))
    return bool(wanted)


@given(st.lists(st.sampled_from(NAMES), max_size=20), st.lists(st.sampled_from([*NAMES, "F.g", "F"]), max_size=20),
       st.booleans(), st.lists(st.sampled_from([*NAMES, "F", "F.g", "H"]), max_size=20))  # fmt: skip
@settings(max_examples=60)
def test_attributes_that_no_profile_has_any_more_are_freed_and_others_keep_their_values(
    gone: list[str], before: list[str], sealed: bool, after: list[str]
) -> None:
    partition, other = Partition(PartitionId(0), KEY), Partition(PartitionId(0), KEY)
    _take(partition, _changes(gone, "gone"))
    for each in (partition, other):
        _take(each, _changes(before))
        if sealed:
            each.maintain(0)
    _erase(partition, "gone")
    assert _forget_unused(partition) == bool({*gone} - {*before} or (gone and not before))
    partition.purge()
    partition.validate()
    assert set(partition.capture().schema.attributes) == set(other.capture().schema.attributes)
    assert sorted(partition.capture().schema.attributes.values()) == list(range(len(other.capture().schema.attributes)))
    assert not _forget_unused(partition)
    for each in (partition, other):
        _take(each, _changes(after, at=1000))
        each.maintain(0)
        each.validate()
    assert read_contents(partition.capture()) == read_contents(other.capture())
    assert digest(partition.capture()) == digest(other.capture())


def test_a_flood_of_attributes_is_undone_once_its_profiles_are_erased() -> None:
    partition = Partition(PartitionId(0), KEY)
    assert _take(partition, _changes(["plan"])) == 1
    _take(partition, _changes((f"flood {number}" for number in range(ATTRIBUTE_NAMES_MAX + 50)), "gone"))
    assert _take(partition, _changes(["city"])) == 0
    assert not _forget_unused(partition), "profiles have them"
    _erase(partition, "gone")
    assert _forget_unused(partition) and partition.awaits_purge
    assert partition.export().view.schema.attributes == {"plan": 0}
    partition.purge()
    assert not partition.awaits_purge
    assert _take(partition, _changes(["city"], at=9)) == 1
    assert sorted(partition.capture().schema.attributes) == ["city", "plan"]


def test_an_attribute_that_comes_back_while_it_is_freed_keeps_its_new_value() -> None:
    partition = Partition(PartitionId(0), KEY)
    _take(partition, _changes(["plan", "city"], "gone"))
    _take(partition, _changes(["plan"]))
    _erase(partition, "gone")
    _forget_unused(partition)
    admission = partition.admit(_changes(["city", "new"], at=50), partition.pending_ids())
    partition.purge()
    partition.apply(admission.batch, SequenceNumber(partition.sequence + 1))
    partition.validate()
    assert sorted(partition.capture().schema.attributes) == ["city", "new", "plan"]
    view = partition.capture()
    assert len(view.attribute_versions(view.schema.attributes["city"])) == 1
