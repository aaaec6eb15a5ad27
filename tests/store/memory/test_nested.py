"""Objects as attributes, against a model: the same in every order of arrival, as of every instant, live and moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.ids import PartitionId, SequenceNumber, decode_identifier
from cdp_store.memory.digest import digest
from cdp_store.memory.rerouting import batches_of
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from cdp_store.values import Kind, Operation
from tests.identity_cluster import Apart, Link, Partitions, Said, merged, never_linked
from tests.raw_records import Change, anonymous, user
from tests.shards import KEY, SMALL_LAYOUT, batch_of

PEOPLE = [user("one"), user("two")]
EVERYBODY = [*PEOPLE, anonymous("device"), anonymous("other device")]
VALUES = st.none() | st.integers(0, 2) | st.just("text")
# As the cluster gets them: an object is there unset, beside its parts.
GIVEN = st.dictionaries(st.sampled_from(["a", "a.b", "a.b.c", "a.d", "ab", "e", "e.f"]), VALUES, max_size=4)
RECORDS = st.lists(st.tuples(st.sampled_from(PEOPLE), GIVEN), max_size=10).map(
    lambda drawn: [Change(who, at, values) for at, (who, values) in enumerate(drawn, 1)]
)


def partition() -> Partition:
    return Partition(PartitionId(0), KEY, SMALL_LAYOUT)


def apply(into: Partition, records: Sequence[Change], sizes: Sequence[int] = (1,), *, seal: bool = False) -> Partition:
    """Records in this order, in batches of these sizes, over and over."""
    left, number = list(records), 0
    while left:
        size = sizes[number % len(sizes)]
        into.apply(batch_of(left[:size]), SequenceNumber(into.sequence + 1))
        left, number = left[size:], number + 1
        if seal:
            into.maintain(0, 2)
    return into


def expected(records: Sequence[Change], instant: int) -> dict[tuple[str, str], Any]:
    """What people have at an instant, by the definition."""
    held = dict[tuple[str, str], Any]()
    for record in sorted(records, key=lambda each: each.ts):
        if record.ts <= instant:
            who = record.user.identifier
            for name in record.attributes:
                held = {
                    (other, part): value
                    for (other, part), value in held.items()
                    if other != who or not part.startswith(f"{name}.")
                }
            held |= {(who, name): value for name, value in record.attributes.items()}
    return {key: value for key, value in held.items() if value is not None}


def found(view: PartitionView, instant: int) -> dict[tuple[str, str], Any]:
    """What the history says people have at an instant."""
    held = dict[tuple[str, str], Any]()
    offsets, data = view.gather_identifiers(np.arange(view.row_count))
    rows = [decode_identifier(data[offsets[at] : offsets[at + 1]].tobytes())[1] for at in range(view.row_count)]
    for name, number in view.schema.attributes.items():
        if number not in view.attributes:
            continue
        versions = view.attribute_versions(number)
        for row, time_ms, kind, raw in zip(
            versions.rows.tolist(),
            versions.times.tolist(),
            versions.kinds.tolist(),
            versions.raws.tolist(),
            strict=True,
        ):
            if time_ms <= instant:
                held[rows[row], name] = None if kind == Kind.UNSET else "text" if kind == Kind.STRING else raw
    return {key: value for key, value in held.items() if value is not None}


def current(view: PartitionView) -> dict[str, int]:
    """How many rows have each attribute now."""
    every = np.flatnonzero(~view.erased()).astype(np.uint32)
    return {
        name: int(np.count_nonzero(view.attributes[number].values(every)[0]))
        for name, number in view.schema.attributes.items()
        if number in view.attributes
    }


@given(RECORDS, st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.booleans())
@settings(max_examples=30, deadline=None)
def test_objects_replace_their_parts_in_every_order_of_arrival(
    records: list[Change], chance: Any, sizes: list[int], seal: bool
) -> None:
    in_order, other = apply(partition(), records), chance.sample(records, len(records))
    shuffled = apply(partition(), other, sizes, seal=seal)
    for made in (in_order, shuffled):
        made.validate()
        view = made.capture()
        for instant in range(len(records) + 1):
            assert found(view, instant) == expected(records, instant)
        now = expected(records, len(records))
        assert sum(current(view).values()) == len(now)
    assert digest(shuffled.capture()) == digest(in_order.capture())


@given(RECORDS, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_versions_dealt_out_again_are_the_same(records: list[Change], chance: Any) -> None:
    made = apply(partition(), chance.sample(records, len(records)))
    other = partition()
    for batch in batches_of(made.capture()):
        other.take_over(batch)
    assert digest(other.capture()) == digest(made.capture())
    assert found(other.capture(), 100) == expected(records, 100)


@st.composite
def lives(draw: st.DrawFn) -> list[Said]:
    """Records of users and devices at different times, links between them, in any order."""
    made: list[Said] = [
        Change(draw(st.sampled_from(EVERYBODY)), at, values)
        for at, values in enumerate(draw(st.lists(GIVEN, max_size=8)), 1)
    ]
    pairs = st.tuples(st.sampled_from(EVERYBODY[2:]), st.sampled_from(EVERYBODY[:2]))
    made += [Link(*pair, at) for at, pair in enumerate(draw(st.lists(pairs, min_size=1, max_size=3)), 50)]
    made += [Apart(*pair) for pair in draw(st.lists(pairs, max_size=1))]
    return draw(st.permutations(made))


@given(lives(), st.data())
@settings(max_examples=15, deadline=None)
def test_objects_of_linked_profiles_are_those_of_one_person(said: list[Said], data: st.DataObject) -> None:
    cluster, settles = Partitions(2), data.draw(st.sets(st.integers(0, 12)))
    for number, each in enumerate(said):
        cluster.say(each)
        if number in settles:
            cluster.settle()
            cluster.crash(number % 2)
    cluster.settle()
    cluster.validate()
    assert cluster.digest() == never_linked(merged(said))
    cluster.crash(0)
    assert cluster.digest() == never_linked(merged(said))


def test_a_link_taken_back_gives_each_the_parts_that_were_theirs() -> None:
    device, ann = EVERYBODY[2], EVERYBODY[0]
    cluster = Partitions(2)
    said: list[Said] = [Change(device, 1, {"a.b": 1}), Link(device, ann, 2), Change(ann, 3, {"a": None})]
    for each in said:
        cluster.say(each)
    cluster.settle()
    assert not any(sum(current(each.capture()).values()) for each in cluster.partitions)
    cluster.say(Apart(device, ann))
    cluster.settle()
    assert sum(current(each.capture()).get("a.b", 0) for each in cluster.partitions) == 1
    assert cluster.digest() == never_linked(merged([*said, Apart(device, ann)]))


def test_an_operation_finds_what_a_record_before_it_left_of_an_object() -> None:
    builder = BatchBuilder()
    builder.add(*PEOPLE[0], None, 1, {"a.b": 5})
    builder.add(*PEOPLE[0], None, 2, {"a": None})
    builder.add(*PEOPLE[0], None, 3, {"a.b": 1}, "", {"a.b": Operation.INCREMENT})
    made = partition()
    made.apply(builder.finish(b""), SequenceNumber(1))
    assert found(made.capture(), 9) == {("one", "a.b"): 1}


def test_a_removal_of_what_was_never_there_is_no_history() -> None:
    made = apply(
        partition(), [Change(PEOPLE[0], 1, {"a.b": 1}), *(Change(PEOPLE[1], at, {"a": None}) for at in (2, 3))]
    )
    view = made.capture()
    assert len(view.attribute_versions(view.schema.attributes["a.b"])) == 1
