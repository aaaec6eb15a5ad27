"""Cold columns: message ids, source identifiers, receipts and sequence numbers outlive the log, in files only."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.directory.shard_directory import ShardIdentity, log_path, snapshots_path
from cdp_store.errors import SnapshotDamaged
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.limits import BUCKET_MS, DAY_MS, SNAPSHOT_SMALL_FILES_MAX
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.admission import Delivery
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store
from cdp_store.snapshot.reader import read_manifest
from cdp_store.values import to_ms
from tests.raw_records import Change, Event, Record, User, anonymous, user
from tests.shards import KEY, batch_of, without_log

ANN, BOB, EVE = user("ann"), user("bob"), anonymous("eve")
PEOPLE = (ANN, BOB, EVE)
IDENTITY = ShardIdentity("test", 0, (0, 1))
Row = tuple[int, int, int, int, str | None, str]  # sequence, partition, received, time, name, message id


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """A recovered store, closed at the end."""
    store = Store(directory, IDENTITY, KEY, OsFiles())
    try:
        store.recover(lambda *_: None)
        yield store
    finally:
        store.close()


def deliver(store: Store, records: list[Record], received_ms: int = 0, partition: int = 0) -> None:
    store.commit([Delivery(PartitionId(partition), replace(batch_of(records), received_ms=received_ms))])


def read(store: Store, who: User, partition: int = 0) -> list[Row]:
    """The cold rows of one person."""
    rows = store.receipts(PartitionId(partition), [encode_identifier(*who)]).rows.to_pylist()
    assert {row["identifier"] for row in rows} <= {encode_identifier(*who).decode()}
    return [
        (
            row["sequence"],
            row["partition"],
            to_ms(row["received"]),
            to_ms(row["time"]),
            row["name"],
            row["message_id"] or "",
        )
        for row in rows
    ]


def forget_log(directory: Path) -> None:
    """Only the snapshots are left."""
    without_log(directory, IDENTITY)


@dataclass
class Model:
    """Rows of a partition as plain lists."""

    partition: int = 0
    sequence: int = 0
    rows: list[tuple[User, Row]] = field(default_factory=list)

    def deliver(self, records: list[Record], received_ms: int) -> None:
        """Records of one batch; those with a message id seen before are not taken."""
        seen = {row[5] for _, row in self.rows if row[5]}
        taken = [record for record in records if not record.message_id or record.message_id not in seen]
        if taken:
            self.sequence += 1
        for record in taken:
            name = record.name if isinstance(record, Event) else None
            row = (self.sequence, self.partition, received_ms, record.ts, name, record.message_id)
            self.rows.append((record.user, row))

    def erase(self, who: User) -> None:
        """Nothing of a person stays."""
        self.rows = [(owner, row) for owner, row in self.rows if owner != who]

    def drop(self, name: str, cutoff_ms: int) -> None:
        """No event of a name before an instant stays."""
        self.rows = [(owner, row) for owner, row in self.rows if row[4] != name or row[3] >= cutoff_ms]

    def of(self, who: User) -> list[Row]:
        """The rows of one person."""
        return [row for owner, row in self.rows if owner == who]


_IDS = iter(range(1 << 40))


def _records() -> st.SearchStrategy[list[Record]]:
    events = st.builds(
        lambda who, name, ts, has_id: Event(who, name, ts, {"n": 1}, f"m{next(_IDS)}" if has_id else ""),
        st.sampled_from(PEOPLE),
        st.sampled_from(["View", "Buy"]),
        st.integers(0, 3 * BUCKET_MS),
        st.booleans(),
    )
    changes = st.builds(Change, st.sampled_from(PEOPLE), st.integers(0, 99), st.just({"plan": "x"}))
    return st.lists(events | changes, min_size=1, max_size=6)


_STEPS = st.tuples(
    st.sampled_from(["deliver", "again", "snapshot", "ahead", "restart", "erase", "retain", "settle"]),
    _records(),
    st.sampled_from(PEOPLE),
    st.integers(0, 1),
)


@given(st.lists(_STEPS, min_size=4, max_size=14))
@settings(max_examples=40)
def test_every_record_keeps_its_cold_columns_whatever_happens(
    steps: list[tuple[str, list[Record], User, int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, models = Path(name), (Model(0), Model(1))
        store = Store(directory, IDENTITY, KEY, OsFiles())
        store.recover(lambda *_: None)
        for number, (what, records, who, partition) in enumerate(steps):
            model = models[partition]
            match what:
                case "deliver":
                    deliver(store, records, number, partition)
                    model.deliver(records, number)
                case "again":
                    for received_ms in (number, number + 1000):
                        deliver(store, [r for r in records if r.message_id], received_ms, partition)
                        model.deliver([r for r in records if r.message_id], received_ms)
                case "snapshot":
                    assert store.snapshot(0)[0].problems == ()
                case "ahead":
                    assert store.write_cold() == ()
                case "restart":
                    store.close()
                    store = Store(directory, IDENTITY, KEY, OsFiles())
                    store.recover(lambda *_: None)
                case "erase":
                    known = store.partitions[PartitionId(partition)].locate([encode_identifier(*who)])[1] != [None]
                    store.erase(PartitionId(partition), [encode_identifier(*who)])
                    model.erase(who)
                    model.sequence += known
                case "retain":
                    Retaining(store).set_retention({"View": 28}, 3 * BUCKET_MS)
                    for each, held in zip(models, store.partitions.values(), strict=True):
                        each.drop("View", 2 * BUCKET_MS)
                        each.sequence = held.sequence
                case "settle":
                    store.settle()
                    store.purge()
            assert [int(held.sequence) for held in store.partitions.values()] == [each.sequence for each in models]
        for last in ("log and files", "files"):
            for partition, model in enumerate(models):
                for person in PEOPLE:
                    assert read(store, person, partition) == model.of(person), last
            assert store.snapshot(0)[0].problems == ()
        store.close()


def test_cold_columns_outlive_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_store.shard.store.LOG_SEGMENT_BYTES", 400)
    model = Model()
    with opened(tmp_path) as store:
        removed = 0
        for number in range(2 * SNAPSHOT_SMALL_FILES_MAX + 3):
            records: list[Record] = [Event(ANN, "View", number, {}, f"id-{number}"), Event(EVE, "Buy", number)]
            deliver(store, records, 1000 + number)
            model.deliver(records, 1000 + number)
            removed += store.snapshot(number)[1]
        assert removed >= SNAPSHOT_SMALL_FILES_MAX
        manifest = read_manifest(store.snapshot_place, 2 * SNAPSHOT_SMALL_FILES_MAX + 3)
        assert len(manifest.partitions[0].cold) <= SNAPSHOT_SMALL_FILES_MAX, "many small files become one"
        assert read(store, ANN) == model.of(ANN)
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert read(store, ANN) == model.of(ANN)
        assert read(store, EVE) == model.of(EVE)
        assert read(store, BOB) == []
        assert store.verify_snapshots().problems == []


def test_files_that_hold_nothing_removed_are_never_written_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number, who in enumerate((ANN, BOB, BOB)):
            deliver(store, [Event(who, "View", number, {}, f"m{number}")])
            store.snapshot(0)
        first, second, third = read_manifest(store.snapshot_place, 3).partitions[0].cold
        store.erase(PartitionId(0), [encode_identifier(*ANN)])
        store.snapshot(0)
        assert read_manifest(store.snapshot_place, 4).partitions[0].cold == (second, third)
        assert read(store, ANN) == []
        deliver(store, [Event(ANN, "View", 9, {}, "m9")])
        store.snapshot(0)
        assert [row[5] for row in read(store, ANN)] == ["m9"], "who comes again begins anew"
        store.snapshot(0)
        assert first not in {path.name for path in snapshots_path(tmp_path).iterdir()}


def test_events_that_came_late_behind_a_cutoff_of_retention_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, name, 5, {}, f"early {name}") for name in ("View", "Buy")])
        Retaining(store).set_retention({"View": 28}, 3 * BUCKET_MS)
        deliver(store, [Event(ANN, "View", 6, {}, "late View")])
        for _ in range(2):
            assert [row[5] for row in read(store, ANN)] == ["early Buy", "late View"]
            store.snapshot(0)


def test_no_byte_of_an_erased_profile_stays_in_a_cold_file_that_it_shared(tmp_path: Path) -> None:
    gone, kept = user("erased-person"), user("kept-person")
    with opened(tmp_path) as store:
        deliver(store, [Event(who, "View", 1, {}, f"message of {who.identifier}") for who in (gone, kept)])
        store.snapshot(0)
        deliver(store, [Event(who, "View", 2, {}, f"2nd message of {who.identifier}") for who in (kept, gone)])
        store.erase(PartitionId(0), [encode_identifier(*gone)])
        for _ in range(2):
            store.snapshot(0)
        contents = [path.read_bytes() for path in snapshots_path(tmp_path).iterdir()]
        assert not any(b"erased-person" in content for content in contents)
        assert [row[5] for row in read(store, kept)] == ["message of kept-person", "2nd message of kept-person"]


def test_a_damaged_cold_file_is_named_and_does_not_keep_a_shard_from_starting(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 1, {}, "m1")])
        for _ in range(2):
            store.snapshot(0)
        [name] = read_manifest(store.snapshot_place, 2).partitions[0].cold
    path = snapshots_path(tmp_path) / name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 8
    path.write_bytes(damaged)
    with opened(tmp_path) as store:
        assert {problem.file for problem in store.verify_snapshots().problems} == {name}
        with pytest.raises(SnapshotDamaged, match=name):
            read(store, ANN)
        deliver(store, [Event(BOB, "View", 2, {}, "m2")])
        assert store.snapshot(0)[0].problems == (), "nothing needed the damaged file"
        store.erase(PartitionId(0), [encode_identifier(*ANN)])
        [problem] = store.snapshot(0)[0].problems
        assert name in problem
        assert [row[5] for row in read(store, BOB)] == ["m2"]


def test_a_log_record_that_cannot_be_read_costs_its_own_cold_columns_only(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(3):
            deliver(store, [Event(ANN, "View", number, {}, f"message-{number}")])
        [path] = log_path(tmp_path).glob("*.cdplog")
        content = bytearray(path.read_bytes())
        content[content.index(b"message-1")] ^= 8
        path.write_bytes(content)
        taken = store.snapshot(0)[0]
        assert [path.name in problem for problem in taken.problems] == [True]
        assert [row[5] for row in read(store, ANN)] == ["message-0", "message-2"]


def test_a_snapshot_from_before_cold_columns_is_followed_by_one_with_what_the_log_still_has(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        deliver(store, [Event(ANN, "View", 1, {}, "m1")])
        store.snapshot(0)
    [path] = snapshots_path(tmp_path).glob("*.json")
    body: dict[str, Any] = json.loads(path.read_bytes())["snapshot"]
    for entry in body["partitions"]:
        for name in entry.pop("cold"):
            del body["files"][name]
            (snapshots_path(tmp_path) / name).unlink()
        del entry["cold_sequence"]
    content = json.dumps(body).encode()
    path.write_bytes(b'{"version":1,"crc32c":%d,"snapshot":%s}' % (google_crc32c.value(content), content))
    with opened(tmp_path) as store:
        assert [row[5] for row in read(store, ANN)] == ["m1"]
        assert store.snapshot(0)[0].problems == ()
    forget_log(tmp_path)
    with opened(tmp_path) as store:
        assert [row[5] for row in read(store, ANN)] == ["m1"]


def test_any_tool_joins_cold_columns_to_events(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        records: list[Record] = [
            Event(user(f"u{n % 7}"), "Charged", DAY_MS + n, {"amount": n / 4}, f"m{n}") for n in range(100)
        ]
        deliver(store, records, 5 * DAY_MS)
        store.maintain(0)
        taken = store.snapshot(0)[0]
        manifest = read_manifest(store.snapshot_place, taken.number)
    place, entry = snapshots_path(tmp_path), manifest.partitions[0]
    [events] = entry.events[entry.event_names.index("Charged")]
    answer = duckdb.sql(
        f"""
        SELECT c.message_id, e."amount:float", epoch_ms(c.received), c.sequence
        FROM '{place / events.file}' e
        JOIN '{place / entry.identifiers[0].file}' p ON p.row = e.row
        JOIN '{place / entry.cold[0]}' c ON c.identifier = p.identifier AND c.name = 'Charged' AND c.time = e.time
        ORDER BY c.time
        """
    ).fetchall()
    assert answer == [(f"m{n}", n / 4, 5 * DAY_MS, 1) for n in range(100)]
