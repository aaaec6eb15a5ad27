"""What both clients and both writers share, tried without a channel, a thread or a clock."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from cdp.v1 import profile_pb2, query_pb2

from cdp_router.client import ClusterUnreachable, RequestFailed, WriterBroken, methods
from cdp_router.client.calls import Again, Attempts
from cdp_router.client.writing.batching import Problem, encode
from cdp_router.client.writing.outbox import Outbox
from cdp_router.errors import Overloaded
from tests.router.fake_shards import call_error

AWAY = call_error(grpc.StatusCode.UNAVAILABLE)
BUSY = call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, cause=Overloaded("questions wait already", 100))


def test_a_call_that_may_not_be_repeated_fails_at_once() -> None:
    attempts = Attempts(Again.NEVER, "there", 0.0, 10.0)
    assert attempts.seconds(3.0) == 10.0
    with pytest.raises(ClusterUnreachable, match="there"):
        attempts.wait_after(AWAY, 1.0)
    with pytest.raises(RequestFailed, match="resource_exhausted"):
        attempts.wait_after(BUSY, 1.0)


def test_batches_are_sent_again_until_they_are_given_up_each_time_for_the_whole_time() -> None:
    attempts = Attempts(methods.ingest(batch=None).again, "there", 0.0, 10.0, give_up_seconds=60.0)  # type: ignore[arg-type]
    assert 0.0 < attempts.wait_after(AWAY, 20.0) < 1.0
    assert attempts.seconds(20.0) == 10.0
    with pytest.raises(ClusterUnreachable):
        attempts.wait_after(AWAY, 60.0)


def test_questions_are_asked_again_while_the_cluster_is_busy_within_one_time() -> None:
    attempts = Attempts(methods.query(query_pb2.QueryRequest()).again, "there", 0.0, 10.0)
    assert 0.1 <= attempts.wait_after(BUSY, 4.0) < 1.0
    assert attempts.seconds(4.0) == 6.0
    with pytest.raises(RequestFailed):
        attempts.wait_after(BUSY, 9.95)
    with pytest.raises(ClusterUnreachable):
        Attempts(Again.WHILE_BUSY, "there", 0.0, 10.0).wait_after(AWAY, 1.0)


def test_a_page_says_which_call_fetches_the_next_one() -> None:
    asked = list[profile_pb2.ListProfileEventsRequest]()

    class Router:
        class profiles:  # noqa: N801
            @staticmethod
            def ListProfileEvents(request: Any, timeout: float) -> Any:  # noqa: N802
                asked.append(request)
                return profile_pb2.ListProfileEventsResponse(next_page_token="" if request.page_token else "more")

    router: Any = Router()
    call = methods.timeline(profile_pb2.ProfileName(user_id="ann"), ["View"], 7)
    page = call.read(call.begin(router, 1.0))
    assert page.next is not None
    assert page.next.read(page.next.begin(router, 1.0)).next is None
    assert [(each.page_token, each.page_size, each.name.user_id) for each in asked] == [
        ("", 7, "ann"),
        ("more", 7, "ann"),
    ]


def test_what_waits_is_due_when_it_is_old_enough_a_batch_or_flushed() -> None:
    problems = list[Problem]()
    outbox = Outbox("thread", 1 << 20, 2, 5.0, problems.append)
    record = encode("View", {}, "ann", "", None, None)
    assert outbox.is_flushed() and not outbox.has_work()
    outbox.put(record, 100.0)
    assert outbox.has_work() and not outbox.is_due() and not outbox.is_flushed()
    assert outbox.linger_seconds(101.0) == 4.0 and outbox.linger_seconds(200.0) == 0.0
    outbox.put(record, 103.0)
    assert outbox.is_due() and outbox.linger_seconds(103.0) == 2.0, "it is as old as its first record"
    sending = outbox.next_sending(104.0)
    assert len(sending.message_ids) == 2 and not outbox.waiting and not outbox.is_flushed()
    outbox.flush()
    outbox.lost(sending, RuntimeError("away"))
    outbox.sent()
    assert outbox.is_flushed() and outbox.outcomes.tally.lost == 2 and len(problems) == 1


def test_a_sender_that_ended_fails_every_call_and_says_what_it_left() -> None:
    outbox = Outbox("task", 1, 2, 5.0, lambda problem: None)
    record = encode("View", {}, "ann", "", None, None)
    outbox.put(record, 0.0)
    assert not outbox.may_put(record)
    outbox.next_sending(0.0)
    outbox.put(record, 0.0)
    outbox.ended(ZeroDivisionError())
    assert outbox.may_put(record) and outbox.is_flushed()
    with pytest.raises(WriterBroken, match="the sending task ended by ZeroDivisionError.*; 2 records were not sent"):
        outbox.check_all_sent()
    error = ValueError("of the block")
    outbox.check_block(error)
    assert error.__notes__[0].startswith("WriterBroken: ")
