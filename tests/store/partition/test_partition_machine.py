"""A partition against a list of records: any mix of writes, erasures, maintenance, purges and captures."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import BUCKET_MS
from cdp_store.log.controls import Retention
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from tests import strategies
from tests.raw_records import Change, Event, Record, User
from tests.shards import KEY, SMALL_LAYOUT, batch_of
from tests.store.contents import Contents, check_same, expected_contents, read_contents, users_of


class PartitionMachine(RuleBasedStateMachine):
    """The model is the list of all records so far; a capture remembers what they amounted to then."""

    @initialize()
    def start(self) -> None:
        self.partition = Partition(PartitionId(3), KEY, SMALL_LAYOUT)
        self.records: list[Record] = []
        self.created: dict[User, int] = {}
        self.dropped: dict[tuple[User, str], list[int]] = {}  # times of events that retention took
        self.captures: list[tuple[PartitionView, Contents]] = []

    @rule(records=strategies.records(30))
    def append(self, records: list[Record]) -> None:
        self._apply(records)

    @rule(
        value=strategies.values(),
        ts=strategies.moments(),
        name=st.sampled_from(strategies.ATTRIBUTE_NAMES),
        who=st.sampled_from(strategies.USERS),
    )
    def overwrite(self, value: object, ts: int, name: str, who: User) -> None:
        self._apply([Change(who, ts, {name: value})])

    @rule(who=st.sampled_from(strategies.USERS), name=st.sampled_from(strategies.ATTRIBUTE_NAMES))
    def unset(self, who: User, name: str) -> None:
        self._apply([Change(who, strategies.BORDER_MS + BUCKET_MS, {name: None})])

    @rule(record=strategies.events(), buckets=st.integers(1, 5))
    def append_late(self, record: Event, buckets: int) -> None:
        self._apply([Event(record.user, record.name, record.ts - buckets * BUCKET_MS, record.properties)])

    @rule(least=st.integers(2, 5))
    def seal_and_compact(self, least: int) -> None:
        self.partition.maintain(0, least)
        assert self.partition.status().unsealed == 0
        assert not self.partition.maintain(0, least), "maintenance comes to rest"

    @rule(who=st.lists(st.sampled_from(strategies.USERS), min_size=1, max_size=2, unique=True))
    def erase(self, who: list[User]) -> None:
        known = set(self.created)
        sequence = SequenceNumber(self.partition.sequence + 1)
        assert self.partition.erase([encode_identifier(*user) for user in who], sequence) == len(known & {*who})
        self.records = [record for record in self.records if record.user not in who]
        self.created = {user: ts for user, ts in self.created.items() if user not in who}
        self.dropped = {key: times for key, times in self.dropped.items() if key[0] not in who}

    @rule(name=st.sampled_from(strategies.EVENT_NAMES), buckets=st.integers(-3, 2))
    def retain(self, name: str, buckets: int) -> None:
        cutoff = strategies.BORDER_MS + buckets * BUCKET_MS
        before = {id(r) for r in self.records if isinstance(r, Event) and r.name == name and r.ts < cutoff}
        for record in self.records:
            if id(record) in before:
                self.dropped.setdefault((record.user, name), []).append(record.ts)
        self.records = [record for record in self.records if id(record) not in before]
        sequence = SequenceNumber(self.partition.sequence + 1)
        self.partition.retain(Retention({}, {name: cutoff}), sequence)

    @rule()
    def purge(self) -> None:
        worked = self.partition.purge()
        assert self.partition.capture().row_count == len(self.created)
        assert not self.partition.purge()
        if worked:
            self.partition.validate()

    @rule()
    def capture(self) -> None:
        view = self.partition.capture()
        assert view.sequence == self.partition.sequence
        self.captures.append((view, self._expected()))
        assert _summaries(view) == {key: (len(times), min(times), max(times)) for key, times in self.dropped.items()}

    @rule(instant=strategies.moments())
    def look_back(self, instant: int) -> None:
        view = self.partition.capture()
        check_same(read_contents(view, instant), self._expected(instant))

    def _apply(self, records: list[Record]) -> None:
        if records:
            self.partition.apply(batch_of(records), SequenceNumber(self.partition.sequence + 1))
            self.records += records
            for record in records:
                self.created[record.user] = min(record.ts, self.created.get(record.user, record.ts))

    def _expected(self, instant: int | None = None) -> Contents:
        contents = expected_contents(self.records, instant)
        contents.created = dict(self.created)
        return contents

    def teardown(self) -> None:
        """Every structure is whole, and a view never changed, whatever came after it."""
        if not hasattr(self, "partition"):
            return
        self.capture()
        self.partition.validate()
        for view, expected in self.captures:
            check_same(read_contents(view), expected)


def _summaries(view: PartitionView) -> dict[tuple[User, str], tuple[int, int, int]]:
    """(count, first, last) by user and event name, of what retention dropped."""
    names = {number: name for name, number in view.schema.events.items()}
    users, found = users_of(view), {}
    for number, summary in view.summaries.items():
        rows = zip(summary.rows, summary.counts, summary.first_ms, summary.last_ms, strict=True)
        for row, *values in rows:
            if (user := users[row]) is not None:
                found[user, names[number]] = tuple(map(int, values))
    return found


TestPartition = PartitionMachine.TestCase
TestPartition.settings = settings(max_examples=80, stateful_step_count=20)
