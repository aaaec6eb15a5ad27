"""Profiles on their way between partitions that are purged, sealed, exported and started again at any moment."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.log.controls import Erasure, encode_erasure
from cdp_store.log.format import RecordKind
from cdp_store.partition.partition import Partition
from cdp_store.records.records import encode_batch
from tests.identity_cluster import Apart, Link, Partitions, Said, merged, never_linked, people_of
from tests.raw_records import Change, Event, User, anonymous, user
from tests.shards import KEY, SMALL_LAYOUT, batch_of
from tests.stepping import WHOLE, ChangingOver, Interleaving, SteppedPartition

COUNT, VISITORS = 2, 40
USERS = [user("ann"), user("bob")]
DEVICES = [anonymous(f"device-{number}") for number in (1, 2, 3, 7, 9)]
Schedule = tuple[int, int, int]  # see ChangingOver
SCHEDULES = st.tuples(st.sampled_from([0, 0, 1]), st.integers(0, 5), st.sampled_from([2, 6, WHOLE, WHOLE, WHOLE]))


class Cluster(Partitions):
    """Partitions of whom each can be stepped through."""

    def _empty(self, number: int) -> Partition:
        return SteppedPartition(PartitionId(number), KEY, SMALL_LAYOUT)


class IdentityMachine(RuleBasedStateMachine):
    """The model is all that was said. Links, departures, arrivals, farewells and recalls come one at a time, as the
    mover finds them, and each beside a purge that changes over with it as a schedule says."""

    @initialize()
    def start(self) -> None:
        self.cluster, self.said, self.now = Cluster(COUNT), list[Said](), 0
        made = [user(f"visitor {n}") for n in range(2 * COUNT * VISITORS)]
        homes = [self.cluster.home(encode_identifier(*each)) for each in made]
        self.visitors = [[each for each, home in zip(made, homes, strict=True) if home == n] for n in range(COUNT)]
        for number, visitors in enumerate(self.visitors):
            batch = batch_of([Event(visitor, "Visit", 1) for visitor in visitors])
            self.cluster._log(number, RecordKind.BATCH, encode_batch(batch))

    def _forget(self, number: int, count: int) -> None:
        """The first of those who came before all others: these get other rows by the next purge."""
        gone, self.visitors[number] = self.visitors[number][:count], self.visitors[number][count:]
        if gone:
            erasure = Erasure(tuple(encode_identifier(*visitor) for visitor in gone))
            self.cluster._log(number, RecordKind.ERASE, encode_erasure(erasure))

    @rule(who=st.sampled_from([*USERS, *DEVICES]), n=st.integers(0, 2), schedule=SCHEDULES)
    def event(self, who: User, n: int, schedule: Schedule) -> None:
        self._say(Event(who, "View", self._tick(), {"n": n, "whose": who.identifier}), schedule)

    @rule(who=st.sampled_from([*USERS, *DEVICES]), value=st.sampled_from(["a", "b", None]), schedule=SCHEDULES)
    def change(self, who: User, value: Any, schedule: Schedule) -> None:
        self._say(Change(who, self._tick(), {"plan": value}), schedule)

    @rule(device=st.sampled_from(DEVICES), owner=st.sampled_from(USERS), schedule=SCHEDULES)
    def link(self, device: User, owner: User, schedule: Schedule) -> None:
        self._say(Link(device, owner, self._tick()), schedule)

    @rule(device=st.sampled_from(DEVICES), owner=st.sampled_from(USERS), schedule=SCHEDULES)
    def take_apart(self, device: User, owner: User, schedule: Schedule) -> None:
        self._say(Apart(device, owner), schedule)

    @rule(schedules=st.lists(SCHEDULES, min_size=1, max_size=6))
    def move(self, schedules: list[Schedule]) -> None:
        """Some steps of a mover, which then forgets everything."""
        steps = self.cluster.steps()
        for schedule in schedules:
            self._beside_a_purge(lambda: next(steps, None), schedule)

    @rule(number=st.integers(0, COUNT - 1))
    def seal_and_compact(self, number: int) -> None:
        self.cluster.partitions[number].maintain(0, 2)

    @rule(number=st.integers(0, COUNT - 1))
    def start_again(self, number: int) -> None:
        self.cluster.crash(number)

    @rule(number=st.integers(0, COUNT - 1), schedule=SCHEDULES)
    def look(self, number: int, schedule: Schedule) -> None:
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

        self._beside_a_purge(read, schedule)

    def _say(self, said: Said, schedule: Schedule) -> None:
        self._beside_a_purge(lambda: self.cluster.say(said), schedule)
        self.said.append(said)

    def _beside_a_purge(self, work: Any, schedule: Schedule) -> None:
        for number in range(COUNT):
            self._forget(number, 1)
        partitions = self.cluster.partitions
        Interleaving(ChangingOver(*schedule)).run(work, lambda: [partition.purge() for partition in partitions])
        for partition in partitions:
            partition.validate()

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def teardown(self) -> None:
        """Once nothing is on its way, everybody's records are together, also after a start."""
        if not hasattr(self, "cluster"):
            return
        for number in range(COUNT):
            self._forget(number, len(self.visitors[number]))
        expected = merged(self.said)
        for _ in range(2):
            self.cluster.settle()
            self.cluster.validate()
            assert people_of(self.cluster) == sorted({record.user for record in expected})
            assert self.cluster.digest() == never_linked(expected)
            for number in range(COUNT):
                self.cluster.crash(number)


TestIdentity = IdentityMachine.TestCase
TestIdentity.settings = settings(max_examples=20, stateful_step_count=25)
