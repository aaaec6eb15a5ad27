"""An erased profile is out of every answer at once, and after the purge not a byte of it is left in memory."""

from __future__ import annotations

import gc
import mmap
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import cdp_store.partition.partition
from cdp_store.ids import SequenceNumber, encode_identifier
from cdp_store.partition.partition import Partition
from cdp_store.values import pack_list
from tests.raw_records import Change, Event, Record, user
from tests.shards import batch_of, filled
from tests.store.contents import check_same, expected_contents, read_contents

ANN, BOB, ZEBRA = user("ann"), user("bob"), user("zebra-7")
SECRET_NUMBER = 0x5A_45_42_52_41_21  # the integer whose little-endian bytes are "!ARBEZ"
SECRETS = (b"zebra", SECRET_NUMBER.to_bytes(8, "little"), np.float64(1234.56789012345).tobytes())


def records() -> list[Record]:
    """Ann, Bob and a profile full of values that nobody else has, and some that others share."""
    secret = {"page": "zebra-page", "tags": ["zebra-tag"], "n": SECRET_NUMBER, "x": 1234.56789012345}
    return [
        Event(ANN, "View", 1, {"page": "home", "n": 5, "x": 0.1234567891, "tags": ["a"]}),
        Event(ZEBRA, "View", 2, secret),
        Event(ZEBRA, "View", 3, {"page": "home"}),
        Event(ZEBRA, "Only zebras", 3, {"page": "zebra-den"}),
        Change(ZEBRA, 4, {"plan": "zebra-plan", "n": SECRET_NUMBER, "x": 1234.56789012345, "list": ["zebra"]}),
        Change(ZEBRA, 5, {"plan": "gold"}),
        Change(BOB, 6, {"plan": "gold", "n": 1, "x": 0.5, "list": ["b"]}),
        Event(BOB, "View", 7, {"page": "home", "n": 6, "x": 0.25, "tags": ["a"]}),
    ]


def erase(partition: Partition, *who: Any) -> int:
    return partition.erase([encode_identifier(*one) for one in who], SequenceNumber(partition.sequence + 1))


def write(partition: Partition, *new: Record) -> None:
    partition.apply(batch_of(new), SequenceNumber(partition.sequence + 1))


def without(user: Any, records: list[Record]) -> list[Record]:
    return [record for record in records if record.user != user]


def _slots(thing: object) -> list[str]:
    return [name for name in getattr(type(thing), "__slots__", ()) if name != "__weakref__"]


def bytes_in_memory(root: object) -> bytes:
    """Every array, string and buffer reachable from an object, unused room of arrays included."""
    seen, waiting, found = set[int](), [root], list[bytes]()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing) and not hasattr(thing, "__dict__"):
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionType):  # what it closes over, and not all names of its module
            waiting.extend(cell.cell_contents for cell in thing.__closure__ or ())
        elif isinstance(thing, np.ndarray):
            found.append(thing.tobytes())
            waiting.append(thing.base)
        elif isinstance(thing, mmap.mmap):
            found.append(thing[:])
        elif isinstance(thing, str):
            found.append(thing.encode())
        elif isinstance(thing, bytes | bytearray | memoryview):
            found.append(bytes(thing))
        elif isinstance(thing, int) and not isinstance(thing, bool):
            found.append(thing.to_bytes(32, "little", signed=True))
        else:
            waiting.extend(gc.get_referents(thing))
            waiting.extend(getattr(thing, name, None) for name in _slots(thing))
    return b"|".join(found)


@pytest.mark.parametrize("sealed", [False, True])
def test_no_byte_of_an_erased_profile_stays_after_the_purge(sealed: bool) -> None:
    partition = filled(records())
    if sealed:
        partition.maintain(0, 2)
    partition.capture().event_chunks(0)  # a query leaves chunks of the delta behind
    before = bytes_in_memory(partition)
    assert all(secret in before for secret in SECRETS), "or this test could not fail"
    assert erase(partition, ZEBRA) == 1
    assert partition.purge()
    gc.collect()
    after = bytes_in_memory(partition)
    assert [secret for secret in SECRETS if secret in after] == []
    assert all(text in after for text in (b"home", b"gold", pack_list(["a"])))
    check_same(read_contents(partition.capture()), expected_contents(without(ZEBRA, records())))
    partition.validate()


def test_an_erased_profile_is_gone_at_once_for_every_instant() -> None:
    partition = filled(records())
    before = partition.capture()
    assert erase(partition, ZEBRA) == 1
    view = partition.capture()
    assert view.created_by(1 << 45).tolist() == [True, False, True]
    assert partition.locate([encode_identifier(*ZEBRA)])[1] == [None]
    assert partition.status().profiles == 2
    partition.validate()
    assert erase(partition, ZEBRA) == 0
    assert partition.purge()
    check_same(read_contents(partition.capture()), expected_contents(without(ZEBRA, records())))
    check_same(read_contents(before), expected_contents(records()))


def test_a_profile_that_comes_back_starts_clean() -> None:
    partition = filled(records())
    erase(partition, ZEBRA)
    again = [Event(ZEBRA, "View", 50, {"page": "zebra-page"}), Change(ZEBRA, 51, {"m": "new"})]
    write(partition, *again)
    expected = expected_contents([*without(ZEBRA, records()), *again])
    for _ in range(2):
        check_same(read_contents(partition.capture()), expected)
        partition.validate()
        partition.purge()
    assert partition.capture().row_count == 3


def test_rows_of_erased_profiles_are_used_again() -> None:
    partition = filled(records())
    for turn in range(3):
        erase(partition, user(f"turn-{turn - 1}" if turn else "zebra-7"))
        partition.purge()
        write(partition, Event(user(f"turn-{turn}"), "View", turn))
        assert partition.capture().row_count == 3


def test_what_arrives_while_a_purge_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = filled(records())
    erase(partition, ZEBRA)
    late: list[Record] = [
        Event(ANN, "New", 60, {"page": "new", "k": "new"}),
        Change(user("new"), 61, {"plan": "zebra-plan"}),
    ]
    build = cdp_store.partition.partition.purged

    def purged_while_writing(*args: Any) -> Any:
        memory = build(*args)
        for record in late:
            write(partition, record)
        erase(partition, BOB)
        return memory

    monkeypatch.setattr(cdp_store.partition.partition, "purged", purged_while_writing)
    assert partition.purge()
    expected = expected_contents([*without(BOB, without(ZEBRA, records())), *late])
    check_same(read_contents(partition.capture()), expected)
    partition.validate()
    monkeypatch.setattr(cdp_store.partition.partition, "purged", build)
    assert partition.purge(), "what was erased meanwhile is next"
    check_same(read_contents(partition.capture()), expected)


def test_a_purge_that_fails_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = filled(records())
    erase(partition, ZEBRA)

    def fails(*args: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(cdp_store.partition.partition, "purged", fails)
        with pytest.raises(MemoryError):
            partition.purge()
    write(partition, Event(ANN, "View", 70))
    assert partition.purge()
    check_same(
        read_contents(partition.capture()), expected_contents([*without(ZEBRA, records()), Event(ANN, "View", 70)])
    )
