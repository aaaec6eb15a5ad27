"""Records that are wrong count against their key's rates, and their dead letters never take the disk of the log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from cdp_router.background import awaited
from cdp_router.gateway import intake
from cdp_router.gateway.letters.dead_letters import DeadLetter, DeadLetters, directory_name, encode_letter
from cdp_router.gateway.letters.holding import hold
from cdp_router.gateway.letters.letter_room import FREE, OF_ALL, OF_SOURCE, LetterRoom, LettersFull, RoomLimits
from cdp_router.gateway.write_keys import Source
from cdp_router.rpc.principal import Principal, Role
from cdp_router.security.keys.rates import Rates
from cdp_store.limits import MIB
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

BAD: dict[str, Any] = {"type": "?", "x": "y"}


def _letters(source: str, size: int) -> list[DeadLetter]:
    """Letters that take about so many bytes."""
    empty = DeadLetter(source, "segment", 1, None, "WRONG", "it is wrong", "")
    return [DeadLetter(source, "segment", 1, None, "WRONG", "it is wrong", "x" * (size - len(encode_letter(empty))))]


def _room(path: Path, limits: RoomLimits, free: int = 1 << 40) -> DeadLetters:
    return DeadLetters(path / "dead", room=LetterRoom(path / "dead", limits, lambda _: free, lambda: 0.0))


def test_letters_of_one_source_have_a_bound_and_leave_others_theirs(tmp_path: Path) -> None:
    letters = _room(tmp_path, RoomLimits(of_source=20_000, of_all=1 << 30, free=0))
    letters.add(_letters("web", 15_000))
    with pytest.raises(LettersFull, match="of this source"):
        letters.add(_letters("web", 5_000))
    letters.add(_letters("app", 15_000))
    assert len(list(letters.letters(tmp_path / "dead" / directory_name("web")))) == 1


def test_all_letters_have_a_bound_however_many_sources_there_are(tmp_path: Path) -> None:
    letters, kept = _room(tmp_path, RoomLimits(of_source=1 << 30, of_all=100_000, free=0)), 0
    with pytest.raises(LettersFull, match="dead letters take"):
        for number in range(1000):
            letters.add(_letters(f"source {number}", 200))
            kept = number + 1
    found = list((tmp_path / "dead").glob("*/*.ndjson"))
    assert len(found) == kept
    # What another process has written counts as well.
    again = _room(tmp_path, RoomLimits(of_source=1 << 30, of_all=100_000, free=0))
    assert kept > 10
    with pytest.raises(LettersFull):
        for _ in range(1000):
            again.add(_letters("source 0", 20_000))


def test_letters_of_one_source_have_a_rate_and_leave_others_theirs(tmp_path: Path) -> None:
    """It refuses before a request is delivered. What was refused by the cluster behind that is kept, and owed."""
    now = 0.0
    limits = RoomLimits(of_source=1 << 30, of_all=1 << 30, free=0, per_second=1000)
    letters = DeadLetters(tmp_path / "dead", room=LetterRoom(tmp_path / "dead", limits, lambda _: 1 << 40, lambda: now))
    letters.add(_letters("web", 10_000))  # what may come at once, and two seconds' worth that are owed
    letters.add(_letters("app", 5_000))
    letters.hold("app", 0)
    with pytest.raises(LettersFull, match="faster than 1000 bytes a second"):
        letters.hold("web", 0)
    letters.add(_letters("web", 500))  # half a second more
    now = 2.4
    with pytest.raises(LettersFull):
        letters.hold("web", 0)
    now = 2.6
    letters.hold("web", 0)


def test_letters_leave_room_on_the_disk(tmp_path: Path) -> None:
    limits = RoomLimits(of_source=1 << 30, of_all=1 << 30, free=50_000)
    _room(tmp_path, limits, free=60_000).add(_letters("web", 5_000))
    with pytest.raises(LettersFull, match="disk"):
        _room(tmp_path, limits, free=52_000).add(_letters("web", 5_000))


def test_the_limits_are_what_the_environment_says() -> None:
    assert RoomLimits.from_environment({}) == RoomLimits()
    assert RoomLimits.from_environment({OF_SOURCE: "1", OF_ALL: "2", FREE: "0"}) == RoomLimits(MIB, 2 * MIB, 0)
    with pytest.raises(ValueError, match=OF_ALL):
        RoomLimits.from_environment({OF_ALL: "-1"})


def test_a_request_whose_letters_have_no_room_is_told_to_come_again_and_nothing_of_it_is_taken(tmp_path: Path) -> None:
    room = LetterRoom(tmp_path / "dead-letters", RoomLimits(of_source=9_000, free=0))
    with gateway_cluster(tmp_path, room=room) as gateway:
        good = {"type": "track", "event": "E", "userId": "u", "messageId": "1"}
        for _ in range(100):
            answer = gateway.post("/v1/batch", {"batch": [BAD | {"y": "z" * 500}]})
            if answer.status_code != 200:
                break
        assert (answer.status_code, answer.json()["code"]) == (503, "dead_letters_full")
        assert answer.headers["retry-after"]
        answer = gateway.post("/v1/batch", {"batch": [good, BAD | {"y": "z" * 9000}]})
        assert answer.status_code == 503
        assert sum(path.stat().st_size for path in (tmp_path / "dead-letters").glob("*/*")) <= 9_000
        assert gateway.post("/v1/batch", {"batch": [good]}).status_code == 200
        assert gateway.count('did("E")') == 1


@pytest.mark.parametrize("has_room", [True, False])
def test_a_request_that_is_cancelled_while_its_room_is_looked_for_holds_none(tmp_path: Path, has_room: bool) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def free_bytes(_: Path) -> int:
        begun.set()
        may_go_on.wait(60)
        return 1 << 40 if has_room else 0

    async def cancel_while_held() -> DeadLetters:
        room = LetterRoom(tmp_path / "dead", RoomLimits(), free_bytes)
        letters = DeadLetters(tmp_path / "dead", room=room)
        holding = awaited(hold(letters, "web", 1000))
        await asyncio.to_thread(begun.wait, 60)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        may_go_on.set()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return letters

    letters = asyncio.run(cancel_while_held())
    assert letters.room is not None and not letters.room._held


LATE: dict[str, Any] = {"type": "track", "event": "x" * 200, "userId": "u"}  # the cluster alone refuses it
WITHOUT_ID: dict[str, Any] = {"type": "track", "event": "E", "userId": "u"}
COUNTED = 'count("E") = '


def _write_fails(*_: Any) -> None:
    raise OSError(28, "no space left on device")


def _full_cluster(folder: Path, of_source: int = 9_000) -> AbstractContextManager[GatewayCluster]:
    return gateway_cluster(folder, room=LetterRoom(folder / "dead-letters", RoomLimits(of_source=of_source, free=0)))


@pytest.mark.parametrize("bad", [BAD | {"y": "z" * 9_000}, LATE | {"properties": {"y": "z" * 9_000}}])
def test_records_without_ids_are_counted_once_however_often_their_request_is_sent(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    """What is known before is refused whole; what the cluster refuses later asks for no repetition."""
    with _full_cluster(tmp_path) as gateway:
        for _ in range(3):
            if gateway.post("/v1/batch", {"batch": [WITHOUT_ID, bad]}).status_code == 200:
                break
        assert gateway.count('did("E")') == gateway.count(COUNTED + "1") == (bad["type"] == "track")
        assert not gateway.letters()


def test_letters_known_before_are_kept_beside_late_ones_that_find_no_room(tmp_path: Path) -> None:
    late = LATE | {"properties": {"y": "z" * 9_000}}
    with _full_cluster(tmp_path) as gateway:
        assert gateway.post("/v1/batch", {"batch": [WITHOUT_ID, BAD, late]}).status_code == 200
        assert [letter.record["type"] for letter in gateway.letters()] == ["?"]
        assert gateway.count(COUNTED + "1") == 1


def test_a_request_is_refused_after_it_was_delivered_only_where_sending_it_again_is_safe(tmp_path: Path) -> None:
    late = LATE | {"properties": {"y": "z" * 9_000}}
    with _full_cluster(tmp_path) as gateway:
        for body in ([late], [WITHOUT_ID | {"messageId": "m"}, late | {"messageId": "l"}]):
            answer = gateway.post("/v1/batch", {"batch": body})
            assert (answer.status_code, answer.json()["code"]) == (503, "dead_letters_full")
        assert gateway.count(COUNTED + "1") == 1


def test_a_disk_that_fails_has_nothing_counted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway_cluster(tmp_path) as gateway:
        with monkeypatch.context() as patch:
            patch.setattr("cdp_store.outside.line_log.LineLog.append", _write_fails)
            assert gateway.post("/v1/batch", {"batch": [WITHOUT_ID, BAD]}).status_code == 200
            assert gateway.post("/v1/batch", {"batch": [BAD]}).status_code == 503, "nothing was taken"
        assert gateway.count(COUNTED + "1") == 1


def test_an_answer_by_record_says_which_was_not_kept(tmp_path: Path) -> None:
    good = {"event": "E", "distinct_id": "u", "uuid": "good"}
    late = {"event": "x" * 200, "distinct_id": "u", "uuid": "late", "properties": {"y": "z" * 9_000}}
    nameless = {"event": "E", "distinct_id": "u"}
    with _full_cluster(tmp_path) as gateway:
        answer = gateway.post("/i/v1/analytics/events", {"api_key": "web", "batch": [good, late, nameless]})
        results = answer.json()["results"]
        assert (answer.status_code, results["good"]["result"], results["late"]["result"]) == (200, "ok", "drop")
        assert "not kept as a dead letter" in results["late"]["details"]


def test_room_that_others_wait_to_fill_is_theirs(tmp_path: Path) -> None:
    letters = _room(tmp_path, RoomLimits(of_source=20_000, of_all=40_000, free=0))
    letters.hold("web", 12_000)
    letters.hold("app", 12_000)
    with pytest.raises(LettersFull, match="of this source"):
        letters.hold("web", 9_000)
    with pytest.raises(LettersFull, match="dead letters take"):
        letters.hold("other", 17_000)
    with pytest.raises(LettersFull):
        letters.add(_letters("web", 9_000))
    lines = b"".join(map(encode_letter, _letters("web", 12_000)))
    letters.append("web", lines, len(lines))
    letters.release("web", 12_000)
    letters.release("app", 12_000)
    letters.hold("other", 17_000)
    letters.release("other", 17_000)
    with pytest.raises(LettersFull, match="of this source"):
        letters.hold("web", 9_000)


class _Limited:
    """Any key, with five records a second."""

    def source_of(self, key: str, secret: str) -> Source:
        return Source(key, key, principal=Principal(key, key, frozenset({Role.INGEST}), 100.0, 5.0))


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayCluster]:
    monkeypatch.setattr(intake, "Rates", lambda: Rates(lambda: 0.0))  # no time passes
    with gateway_cluster(tmp_path, _Limited()) as gateway:
        yield gateway


def test_wrong_records_count_against_the_rate_of_their_key(limited: GatewayCluster) -> None:
    good = {"type": "track", "event": "E", "userId": "u", "messageId": "1"}
    assert limited.post("/v1/batch", {"batch": [BAD] * 3}).status_code == 200
    assert limited.post("/v1/batch", {"batch": [BAD] * 40}).status_code == 200  # taken whole as long as one may be
    refused = limited.post("/v1/batch", {"batch": [good, BAD]})
    assert (refused.status_code, refused.json()["code"]) == (503, "rate_limited")
    assert len(limited.letters()) == 43
    assert limited.count('did("E")') == 0
    assert limited.post("/v1/batch", {"batch": [good]}).status_code == 200


def test_calls_that_only_bring_wrong_records_count_as_calls(limited: GatewayCluster) -> None:
    limited.http.auth = ("other", "")
    answers = [limited.post("/v1/batch", {"batch": [BAD]}).status_code for _ in range(7)]
    assert answers == [200] * 5 + [503] * 2


def test_records_that_the_cluster_refuses_count_as_well(limited: GatewayCluster) -> None:
    late = {"type": "track", "event": "x" * 200, "userId": "u"}
    assert limited.post("/v1/batch", {"batch": [late] * 6}).status_code == 200
    assert limited.post("/v1/batch", {"batch": [BAD]}).status_code == 503
