"""Profiles on their way between partitions that are purged, sealed, exported and started again at any moment."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cdp_store.controls import Erasure, encode_erasure
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.log.format import RecordKind
from cdp_store.partition import Partition
from tests.identity_cluster import Apart, Link, Partitions, Said, merged, never_linked, people_of
from tests.raw_records import Change, Event, User, anonymous, user
from tests.shards import KEY, SMALL_LAYOUT
from tests.stepping import Interleaving, SteppedPartition, by_chance

COUNT = 2
USERS = [user("ann"), user("bob")]
DEVICES = [anonymous(f"device-{number}") for number in range(3)]
SCHEDULES = st.integers(0, 1 << 32)


class Cluster(Partitions):
    """Partitions of whom each can be stepped through."""

    def _empty(self, number: int) -> Partition:
        return SteppedPartition(PartitionId(number), KEY, SMALL_LAYOUT)


class IdentityMachine(RuleBasedStateMachine):
    """The model is all that was said. Links, departures, arrivals, farewells and recalls come one at a time, as the
    mover finds them, and each beside a purge that changes over with it as a schedule says."""

    @initialize()
    def start(self) -> None:
        self.cluster, self.said, self.now, self.visitors = Cluster(COUNT), list[Said](), 0, 0

    @rule(who=st.sampled_from([*USERS, *DEVICES]), n=st.integers(0, 2), schedule=SCHEDULES)
    def event(self, who: User, n: int, schedule: int) -> None:
        self._say(Event(who, "View", self._tick(), {"n": n, "whose": who.identifier}), schedule)

    @rule(who=st.sampled_from([*USERS, *DEVICES]), value=st.sampled_from(["a", "b", None]), schedule=SCHEDULES)
    def change(self, who: User, value: Any, schedule: int) -> None:
        self._say(Change(who, self._tick(), {"plan": value}), schedule)

    @rule(device=st.sampled_from(DEVICES), owner=st.sampled_from(USERS), schedule=SCHEDULES)
    def link(self, device: User, owner: User, schedule: int) -> None:
        self._say(Link(device, owner, self._tick()), schedule)

    @rule(device=st.sampled_from(DEVICES), owner=st.sampled_from(USERS), schedule=SCHEDULES)
    def take_apart(self, device: User, owner: User, schedule: int) -> None:
        self._say(Apart(device, owner), schedule)

    @rule(schedules=st.lists(SCHEDULES, min_size=1, max_size=4), number=st.integers(0, COUNT - 1))
    def move(self, schedules: list[int], number: int) -> None:
        """Some steps of a mover, which then forgets everything."""
        steps = self.cluster.steps()
        for schedule in schedules:
            self._beside_a_purge(lambda: next(steps, None), number, schedule)

    @rule(number=st.integers(0, COUNT - 1))
    def visit_and_be_forgotten(self, number: int) -> None:
        """Leaves a row behind, so that a purge has something to do."""
        self.visitors += 1
        visitor = next(
            made
            for n in range(99)
            if self.cluster.home(encode_identifier(*(made := user(f"visitor {self.visitors} {n}")))) == number
        )
        self.cluster.say(Event(visitor, "Visit", 1))
        payload = encode_erasure(Erasure((encode_identifier(*visitor),)))
        self.cluster._log(number, RecordKind.ERASE, payload)

    @rule(number=st.integers(0, COUNT - 1))
    def seal_and_compact(self, number: int) -> None:
        self.cluster.partitions[number].maintain(0, 2)

    @rule(number=st.integers(0, COUNT - 1))
    def start_again(self, number: int) -> None:
        self.cluster.crash(number)

    @rule(number=st.integers(0, COUNT - 1), schedule=SCHEDULES)
    def look(self, number: int, schedule: int) -> None:
        """A reading beside a purge belongs to one state: those on their way are where it says they are."""
        partition = self.cluster.partitions[number]

        def read() -> None:
            exported = partition.export()
            view, reading = partition.capture_moving()
            assert view.sequence == exported.view.sequence == partition.sequence
            rows = {int(row) for each in reading.sent.values() for row in each.rows}
            opened = partition.identity.transfers.open.values()
            assert len(rows) <= sum(len(each.leaving) for each in opened)
            assert not view.erased()[sorted(rows)].any()

        self._beside_a_purge(read, number, schedule)

    def _say(self, said: Said, schedule: int) -> None:
        who = said.lower if isinstance(said, Link | Apart) else said.user
        number = self.cluster.home(encode_identifier(*who))
        self._beside_a_purge(lambda: self.cluster.say(said), number, schedule)
        self.said.append(said)

    def _beside_a_purge(self, work: Any, number: int, schedule: int) -> None:
        partition = self.cluster.partitions[number]
        Interleaving(by_chance(Random(schedule))).run(work, partition.purge)
        partition.validate()

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def teardown(self) -> None:
        """Once nothing is on its way, everybody's records are together, also after a start."""
        if not hasattr(self, "cluster"):
            return
        expected = merged(self.said)
        for _ in range(2):
            self.cluster.settle()
            self.cluster.validate()
            assert people_of(self.cluster) == sorted({record.user for record in expected})
            assert self.cluster.digest() == never_linked(expected)
            for number in range(COUNT):
                self.cluster.crash(number)


TestIdentity = IdentityMachine.TestCase
TestIdentity.settings = settings(max_examples=25, stateful_step_count=25)
