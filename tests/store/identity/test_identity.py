"""Identifiers of one person: the same profiles whatever the order of arrival, and whatever crashes while they move."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cdp_store.partition.partition
from cdp_store.identity.identity_changes import Arrival, Departure, Farewell, Links, Recall
from cdp_store.ids import EMAIL, PartitionId, SequenceNumber, encode_identifier
from cdp_store.memory.memory import PartitionMemory
from cdp_store.partition.partition import Partition
from cdp_store.partition.purging import purged
from tests.identity_cluster import Apart, Link, Partitions, Said, merged, never_linked, people_of
from tests.raw_records import Change, Event, User, anonymous, user
from tests.shards import KEY, SMALL_LAYOUT, batch_of

USERS = [user("ann"), user("bob"), user("cid")]
DEVICES = [anonymous(f"device-{number}") for number in range(4)]
MAILS = [User(EMAIL, "x@example.org"), User("crm", "17")]
EVERYBODY = [*USERS, *DEVICES, *MAILS]


def settled(said: list[Said], count: int = 4) -> Partitions:
    partitions = Partitions(count)
    for each in said:
        partitions.say(each)
        partitions.settle()
    partitions.validate()
    return partitions


def check(partitions: Partitions, said: list[Said]) -> None:
    expected = merged(said)
    assert people_of(partitions) == sorted({record.user for record in expected})
    assert partitions.digest() == never_linked(expected)


def test_what_a_device_did_before_and_after_belongs_to_its_user() -> None:
    device, ann = DEVICES[0], USERS[0]
    said: list[Said] = [
        Event(device, "View", 10, {"page": "a"}),
        Change(device, 11, {"plan": "free"}),
        Change(ann, 20, {"plan": "gold"}),
        Link(device, ann, 20),
        Event(device, "View", 30, {"page": "b"}),
    ]
    check(settled(said), said)
    check(settled(said[::-1]), said)


def test_a_shared_device_belongs_to_the_user_it_was_first_seen_with() -> None:
    device, ann, bob = DEVICES[0], USERS[0], USERS[1]
    said: list[Said] = [
        Link(device, bob, 50),
        Event(bob, "Login", 50),
        Event(device, "View", 10, {"n": 1}),
        Event(ann, "Login", 20),
        Link(device, ann, 20),
    ]
    partitions = settled(said)
    check(partitions, said)
    assert people_of(partitions) == [ann, bob]


def test_of_one_instant_the_value_under_the_highest_identifier_holds_in_every_order() -> None:
    device, other, mail, ann = DEVICES[0], DEVICES[1], MAILS[0], USERS[0]
    said: list[Said] = [
        Change(device, 10, {"plan": "device"}), Change(ann, 10, {"plan": "user"}), Change(mail, 10, {"plan": "mail"}),
        Change(other, 10, {"plan": "other"}), Link(device, mail, 20), Link(mail, ann, 30), Link(other, ann, 15),
    ]  # fmt: skip
    orders = itertools.islice(itertools.permutations(said), 0, None, 41)
    for order, count in zip(orders, itertools.cycle((1, 4)), strict=False):
        check(settled(list(order), count), list(order))


@pytest.mark.parametrize("count", [1, 4])
def test_records_that_come_back_stand_before_those_of_their_instant_that_came_in_since(count: int) -> None:
    mail, ann = MAILS[1], USERS[0]
    said: list[Said] = [Event(mail, "View", 1, {"n": 0}), Change(mail, 1, {"plan": "a"}), Link(mail, ann, 1)]
    partitions = settled(said, count)
    late: list[Said] = [Event(mail, "View", 1, {"n": 1}), Change(mail, 1, {"plan": "b"}), Apart(mail, ann)]
    for each in late:  # before the mover comes by
        partitions.say(each)
    partitions.settle()
    check(partitions, [*said, *late])


def test_a_link_taken_back_was_never_there() -> None:
    device, ann = DEVICES[1], USERS[0]
    records: list[Said] = [
        Change(ann, 5, {}),
        Event(ann, "Login", 7),
        Event(device, "View", 10, {"n": 1.5}),
        Change(device, 12, {"plan": "free", "list": ["a", 1]}),
        Event(device, "View", 14, {"n": 2}),
    ]
    said: list[Said] = [*records[:4], Link(device, ann, 11), records[4], Apart(device, ann), Link(device, ann, 1)]
    partitions = settled(said)
    check(partitions, said)
    assert partitions.digest() == never_linked(record for record in records if not isinstance(record, Link | Apart))


def test_an_address_that_two_users_share_does_not_make_them_one() -> None:
    mail, ann, bob = MAILS[0], USERS[0], USERS[1]
    said: list[Said] = [
        Event(ann, "Login", 1), Event(bob, "Login", 2), Event(mail, "Open", 3), Event(DEVICES[0], "View", 4),
        Link(mail, bob, 9), Link(DEVICES[0], mail, 4), Link(mail, ann, 8),
    ]  # fmt: skip
    for order in (said, said[::-1]):
        partitions = settled(order)
        check(partitions, said)
        assert people_of(partitions) == [ann, bob]


@pytest.mark.parametrize("apart", [False, True])
def test_a_link_that_is_logged_while_a_purge_runs_keeps_its_position(
    monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    partition = Partition(PartitionId(0), KEY, SMALL_LAYOUT)
    partition.apply(batch_of([Event(DEVICES[0], "View", 1), Event(USERS[1], "View", 2)]), SequenceNumber(1))
    partition.erase([encode_identifier(*USERS[1])], SequenceNumber(2))
    pair = [(encode_identifier(*DEVICES[1]), encode_identifier(*USERS[0]), 3, b"")]

    def purged_beside_a_link(*arguments: Any) -> PartitionMemory:
        partition.change_identity(Links.of(pair, apart=apart), SequenceNumber(3))
        return purged(*arguments)

    monkeypatch.setattr(cdp_store.partition.partition, "purged", purged_beside_a_link)
    assert partition.purge()
    assert partition.sequence == 3, "or the next record would be logged at a position that is taken"
    partition.validate()


class Placed(Partitions):
    """Partitions of a test that says where each identifier lives, and takes the steps of movers itself."""

    def __init__(self, homes: dict[User, int]) -> None:
        self.homes = {encode_identifier(*who): number for who, number in homes.items()}
        super().__init__(max(homes.values()) + 1)

    def home(self, identifier: bytes) -> int:
        return self.homes[identifier]

    def depart(self, who: User, under: User, to: int, source: int | None = None) -> None:
        """A profile begins to move, from its home unless it is a guest elsewhere."""
        move = (encode_identifier(*who), encode_identifier(*under))
        number = self.home(move[0]) if source is None else source
        assert self.change(number, Departure(PartitionId(to), (move,)))

    def look_for(self, who: User, under: User) -> bool:
        """Whether a look for what is to come home has anything to do."""
        return bool([*self._recall(encode_identifier(*who), encode_identifier(*under))])

    def arrive(self, source: int, to: int) -> bool:
        """What moves between two partitions arrives, and is gone where it came from."""
        opened = self.partitions[source].identity.transfers.open[PartitionId(to)]
        arrived = self.change(to, Arrival(PartitionId(source), opened.number, opened.parcel))
        return arrived and self.change(source, Farewell(PartitionId(to), opened.number))


def test_what_is_linked_to_a_profile_that_leaves_for_another_of_its_partition_comes_after_it() -> None:
    device, mail, ann = DEVICES[0], MAILS[0], USERS[0]
    partitions = Placed({device: 0, mail: 1, ann: 1})
    said = [Event(device, "View", 5, {"n": 1}), Event(ann, "View", 5, {"n": 0}), Event(mail, "View", 5, {"n": 0}),
            Link(device, mail, 5), Link(mail, ann, 5)]  # fmt: skip
    for each in said:
        partitions.say(each)
    partitions.depart(device, mail, 1)
    partitions.depart(mail, ann, 1)
    assert not partitions.arrive(0, 1), "in the row that it made, it could not be told from what is the address's own"
    assert partitions.arrive(1, 1) and partitions.arrive(0, 1)
    for apart in (None, Apart(mail, ann)):
        if apart:
            said.append(apart)
            partitions.say(apart)
        partitions.settle()
        partitions.validate()
        check(partitions, said)


def test_what_is_on_its_way_when_an_identifier_is_recalled_comes_home_too() -> None:
    device, mail, ann, bob = DEVICES[0], MAILS[0], USERS[0], USERS[1]
    partitions = Placed({device: 0, mail: 0, ann: 1, bob: 1})
    said = settled_in(partitions, [Link(device, mail, 1), Link(mail, ann, 2), Event(device, "View", 3, {"n": 1})])
    say(partitions, said, Event(device, "Buy", 4, {"n": 1}))
    partitions.depart(device, mail, 0)
    assert partitions.arrive(0, 0)
    partitions.depart(mail, ann, 1)  # with the purchase
    say(partitions, said, Link(device, bob, 5))
    assert partitions.change(1, Recall(encode_identifier(*device), encode_identifier(*mail)))
    partitions.depart(device, device, 0, source=1)
    assert partitions.arrive(1, 0), "the view is home"
    assert not partitions.look_for(device, mail), "and the purchase is on its way"
    assert partitions.arrive(0, 1), "and the purchase with the one it was recalled from"
    partitions.settle()
    partitions.validate()
    check(partitions, said)


def test_a_recalled_identifier_is_looked_for_until_it_is_home() -> None:
    device, ann, bob = DEVICES[0], USERS[0], USERS[1]
    partitions = Placed({device: 0, ann: 1, bob: 1})
    said = settled_in(partitions, [Link(device, bob, 2), Event(device, "View", 3, {})])
    say(partitions, said, Link(device, ann, 1))
    assert partitions.look_for(device, bob), "it is a guest where it stood"
    assert not partitions.look_for(device, bob)
    partitions.depart(device, device, 0, source=1)
    assert not partitions.look_for(device, bob)
    assert partitions.arrive(1, 0)
    assert partitions.look_for(device, bob), "all of it is home"
    partitions.settle()
    check(partitions, said)


def test_moves_come_to_rest_after_a_log_that_never_says_that_all_are_home() -> None:
    device, ann, bob = DEVICES[0], USERS[0], USERS[1]
    partitions = Placed({device: 0, ann: 1, bob: 1})
    said = settled_in(partitions, [Link(device, bob, 2), Event(device, "View", 3, {})])
    say(partitions, said, Link(device, ann, 1))
    assert partitions.change(1, Recall(encode_identifier(*device), encode_identifier(*bob)))
    partitions.depart(device, device, 0, source=1)
    assert partitions.arrive(1, 0)
    partitions.depart(device, ann, 1)  # as earlier versions did once the first records were home
    assert partitions.arrive(0, 1)
    assert not any(partition.identity.due_moves() for partition in partitions.partitions)
    for number in (0, 1):
        partitions.crash(number)
    assert not any(partition.identity.due_moves() for partition in partitions.partitions)
    check(partitions, said)


def test_what_stands_in_a_row_that_cannot_be_told_apart_yet_is_not_home() -> None:
    device, mail, ann, bob = DEVICES[0], MAILS[0], USERS[0], USERS[1]
    partitions = Placed({device: 0, mail: 1, ann: 0, bob: 0})
    said = settled_in(partitions, [Link(mail, ann, 2)])
    say(partitions, said, Event(mail, "Buy", 3, {}), Event(device, "View", 3, {}), Link(device, mail, 1))
    partitions.depart(mail, ann, 0)
    partitions.depart(device, mail, 1)
    assert partitions.arrive(0, 1), "into a new row of the address: its own is on its way"
    say(partitions, said, Link(device, bob, 1))
    assert not partitions.look_for(device, mail)
    partitions.settle()
    check(partitions, said)


def test_a_guest_takes_home_what_comes_for_it_meanwhile() -> None:
    device, mail, ann, bob = DEVICES[0], MAILS[0], USERS[0], USERS[1]
    partitions = Placed({device: 0, mail: 0, ann: 1, bob: 0})
    said = settled_in(partitions, [Event(device, "View", 3, {"n": 1}), Event(mail, "View", 3, {"n": 2}),
                                   Link(device, mail, 1), Link(mail, ann, 2)])  # fmt: skip
    say(partitions, said, Link(mail, bob, 1))
    assert partitions.change(1, Recall(encode_identifier(*mail), encode_identifier(*ann)))
    say(partitions, said, Apart(mail, bob), Event(mail, "View", 3, {"n": 1}))
    partitions.depart(mail, ann, 1)
    assert partitions.arrive(0, 1)
    partitions.settle()
    partitions.validate()
    check(partitions, said)
    say(partitions, said, Apart(device, mail))
    partitions.settle()
    check(partitions, said)


def test_a_recalled_profile_remembers_when_what_came_in_later_was_first_seen() -> None:
    device, mail, ann = DEVICES[0], MAILS[0], USERS[0]
    partitions = Placed({device: 0, mail: 0, ann: 0})
    said = settled_in(partitions, [Link(device, mail, 4), Event(mail, "View", 9, {})])
    say(partitions, said, Event(device, "View", 7, {}))
    partitions.depart(device, mail, 0)
    say(partitions, said, Change(device, 2, {}))
    assert partitions.arrive(0, 0)
    say(partitions, said, Link(device, ann, 8))
    partitions.settle()
    check(partitions, said)


@pytest.mark.parametrize("homes", itertools.product([0, 1], [0, 1, 2]))
def test_what_came_in_while_the_first_was_on_its_way_stands_after_it(homes: tuple[int, int]) -> None:
    device, mail, ann = DEVICES[0], MAILS[1], USERS[0]
    partitions, said = Placed({device: 0, mail: homes[0], ann: homes[1]}), list[Said]()
    say(partitions, said, Event(device, "View", 1, {"n": 0}), Change(device, 1, {"plan": "a"}), Link(device, mail, 1))
    partitions.depart(device, mail, homes[0])
    say(partitions, said, Event(device, "View", 1, {"n": 1}), Change(device, 1, {"plan": "b"}), Link(mail, ann, 1))
    assert partitions.arrive(0, homes[0])
    partitions.settle()  # in one partition, the device's new row and the address's with its old records leave at once
    partitions.validate()
    check(partitions, said)
    for number in range(partitions.count):
        partitions.crash(number)
    check(partitions, said)


def test_what_moves_on_to_a_profile_stands_after_what_comes_home_to_it_from_the_same_partition() -> None:
    device, mail, ann = DEVICES[0], MAILS[0], USERS[0]
    partitions = Placed({device: 1, mail: 0, ann: 1})
    said = settled_in(partitions, [Event(mail, "View", 1, {"n": 0}), Link(mail, ann, 1), Link(device, mail, 1)])
    say(partitions, said, Apart(mail, ann), Event(device, "View", 1, {"n": 1}))
    partitions.depart(device, mail, 0)
    assert partitions.arrive(1, 0)
    say(partitions, said, Event(device, "View", 1, {"n": 2}))
    assert partitions.change(1, Recall(encode_identifier(*mail), encode_identifier(*ann)))
    partitions.settle()  # the address is a guest beside the device, and both leave for one partition
    partitions.validate()
    check(partitions, said)


def settled_in(partitions: Partitions, said: list[Said]) -> list[Said]:
    for each in said:
        partitions.say(each)
    partitions.settle()
    return said


def say(partitions: Partitions, said: list[Said], *more: Said) -> None:
    for each in more:
        partitions.say(each)
        said.append(each)


@st.composite
def sayings(draw: st.DrawFn) -> list[Said]:
    """Records, many of them of one instant, links from lower kinds to higher ones, and some pairs taken apart."""
    times = st.integers(1, draw(st.sampled_from([1, 3, 30])))
    said: list[Said] = []
    some = draw(st.integers(1, len(DEVICES)))
    everybody = [*USERS[:some], *DEVICES[:some], *MAILS]
    for _ in range(draw(st.integers(3, 24))):
        who, ts = draw(st.sampled_from(everybody)), draw(times)
        match draw(st.integers(0, 5)):
            case 0 | 1:
                said.append(Event(who, draw(st.sampled_from(["View", "Buy"])), ts, {"n": draw(st.integers(0, 2))}))
            case 2:
                attribute = draw(st.sampled_from(["plan", "city"]))
                value = draw(st.sampled_from([{}, {attribute: "a"}, {attribute: "b"}, {attribute: None}]))
                said.append(Change(who, ts, value))
            case 3 | 4:
                said.append(Link(*draw(pairs(some)), ts))
            case _:
                said.append(Apart(*draw(pairs(some))))
    return said


@st.composite
def pairs(draw: st.DrawFn, some: int) -> tuple[User, User]:
    users, devices = USERS[:some], DEVICES[:some]
    upper = draw(st.sampled_from([*users, *users, *MAILS]))
    lower = {"user_id": [*MAILS, *devices], "email": [MAILS[1], *devices], "crm": devices}[upper.kind]
    return draw(st.sampled_from(lower)), upper


@given(sayings(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_and_any_crash_gives_the_same_profiles(said: list[Said], data: st.DataObject) -> None:
    partitions, arrived = Partitions(data.draw(st.sampled_from([1, 2, 4]))), data.draw(st.permutations(said))
    for each in arrived:
        partitions.say(each)
        # The mover gets some steps far, then forgets everything; a partition may lose its memory.
        steps = partitions.steps()
        for _ in range(data.draw(st.integers(0, 4))):
            next(steps, None)
        if data.draw(st.booleans()):
            partitions.crash(data.draw(st.integers(0, partitions.count - 1)))
    partitions.settle()
    partitions.validate()
    check(partitions, arrived)


@given(sayings(), st.data())
@settings(max_examples=60, deadline=None)
def test_movers_of_several_routers_that_take_turns_give_the_same_profiles(
    said: list[Said], data: st.DataObject
) -> None:
    partitions, arrived = Partitions(data.draw(st.sampled_from([1, 2, 3]))), data.draw(st.permutations(said))
    movers = [partitions.steps() for _ in range(3)]
    for each in arrived:
        partitions.say(each)
        for turn in data.draw(st.lists(st.integers(0, 2), max_size=5)):
            if next(movers[turn], "at its end") == "at its end":
                movers[turn] = partitions.steps()
    partitions.settle()
    partitions.validate()
    check(partitions, arrived)
