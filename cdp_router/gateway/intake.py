"""A request's path: body to items to rows, rows to the cluster, and rejected items to the dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cdp_router.errors import RateLimited, RecordInvalid
from cdp_router.gateway.bodies import check_values, decompressed, read_json
from cdp_router.gateway.delivery import Delivery, Refused
from cdp_router.gateway.dialects.beacons import sent_in_query, unwrapped
from cdp_router.gateway.dialects.dialects import BATCH, CLEVERTAP, SEGMENT, Dialect, DoubtOf, Unpacked, segment_sent
from cdp_router.gateway.dialects.dry_runs import is_dry_run, refused_rows
from cdp_router.gateway.dialects.mapped import Mapped, Rejected, Warned, mapped
from cdp_router.gateway.dialects.mapping import Envelope, WireRow
from cdp_router.gateway.dialects.segment import said_by_call
from cdp_router.gateway.dialects.segment_calls import UsualBatch, usual_batch
from cdp_router.gateway.dialects.segment_rows import usual_rows
from cdp_router.gateway.dialects.times import Said, is_contradicted, is_skewed
from cdp_router.gateway.dialects.wrapping import usual_wrap
from cdp_router.gateway.http_limits import (
    BODY_BYTES_MAX,
    ITEMS_PER_REQUEST_MAX,
    LARGE_BODY_BYTES,
    LARGE_DECODED_BYTES_MAX,
)
from cdp_router.gateway.letters.dead_letters import DeadLetter, DeadLetters, encode_letter
from cdp_router.gateway.letters.holding import hold
from cdp_router.gateway.letters.letter_room import LettersFull
from cdp_router.gateway.notices import Notices
from cdp_router.gateway.problems import Problem, busy, malformed, too_large
from cdp_router.gateway.write_keys import NO_CREDENTIALS, Source, Sources, credentials
from cdp_router.observing.gateway_metrics import GatewayMetrics
from cdp_router.security.keys.rates import Rates
from cdp_store.outside.seams import Clock
from cdp_store.records import rules

_LOG = logging.getLogger(__name__)
_LARGE_AT_ONCE = 2  # a large body needs many times its bytes while it is decoded


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as received; names of headers are in lower case."""

    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]
    call_type: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of a request; `items` returns the items of its body, which only faults and answers need."""

    source: Source
    envelope: Envelope
    count: int
    items: Callable[[], Sequence[Any]]
    mapped: Mapped
    decoded_bytes: int = 0  # memory that a large body may need while it is at work
    is_repeatable: bool = True  # each item came with an id, so that a repeat is recognised

    @property
    def known(self) -> list[Rejected]:
        """Items that go to the dead letters whatever the cluster answers, each once."""
        by_item = {each.index: each for each in (*self.mapped.doubted, *self.mapped.rejected)}
        return [by_item[index] for index in sorted(by_item)]


class Intake:
    """Accepts requests of every dialect."""

    def __init__(
        self,
        sources: Sources,
        delivery: Delivery,
        dead_letters: DeadLetters,
        clock: Clock,
        metrics: GatewayMetrics | None = None,
        rates: Rates | None = None,
    ) -> None:
        self._sources, self._delivery, self._clock = sources, delivery, clock
        self._dead_letters, self._rates = dead_letters, rates or Rates()
        self._metrics = metrics or GatewayMetrics()
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._held_bytes = 0
        self._notices, self._warnings = Notices(), Notices()

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Raises Problem 401 or 403 if a key in the headers, which precedes any in the body, is refused."""
        shown = credentials(headers, {}, None)
        if shown != NO_CREDENTIALS:
            self._sources.source_of(*shown)

    async def accept(self, dialect: Dialect, sent: Sent) -> dict[str, Any]:
        """The answer to a request, once all of it is durable."""
        prepared = await self._prepared(dialect, sent)
        if self._held_bytes and self._held_bytes + prepared.decoded_bytes > LARGE_DECODED_BYTES_MAX:
            raise busy("too many large requests are at work; send it again a little later")
        self._held_bytes += prepared.decoded_bytes
        try:
            return await self._taken(dialect, sent, prepared)
        finally:
            self._held_bytes -= prepared.decoded_bytes

    async def _taken(self, dialect: Dialect, sent: Sent, prepared: Prepared) -> dict[str, Any]:
        if dialect is CLEVERTAP and is_dry_run(sent.query):
            refused = await asyncio.to_thread(refused_rows, prepared.mapped.rows, prepared.envelope.received_ms)
            rejected, _ = _outcome(prepared, refused)
            self._metrics.took(dialect.name, len(sent.body), 0, 0, prepared.count)
            return dialect.answer(prepared.items, rejected, ())
        known = prepared.known
        letters = await asyncio.to_thread(_encoded, dialect, prepared, known) if known else b""
        async with self._admitted(prepared.source, len(prepared.mapped.rejected), len(letters)):
            refused = await self._delivery.deliver(prepared.mapped.rows, prepared.source.api_key)
            rejected, warned = _outcome(prepared, refused)
            if rejected:
                self._rates.spend_events(prepared.source.principal, len(rejected) - len(prepared.mapped.rejected))
                rejected = await self._keep(dialect, prepared, rejected, refused, letters)
        meant = len({each.index for each in rejected}.union(prepared.mapped.owners))
        self._tell_refused_links(prepared)
        self._tell_warnings(prepared, warned)
        self._metrics.took(dialect.name, len(sent.body), meant - len(rejected), len(rejected), prepared.count - meant)
        return dialect.answer(prepared.items, rejected, warned)

    @asynccontextmanager
    async def _admitted(self, source: Source, count: int, size: int) -> AsyncIterator[None]:
        """Counts records that no router will see against the key, and holds room for their letters; Problem 503 before
        anything is delivered."""
        if not size:
            yield
            return
        try:
            if count:
                self._rates.admit_call(source.principal)
                self._rates.admit_batch(source.principal, count)
            await hold(self._dead_letters, source.name, size)
        except RateLimited as error:
            problem = f"rejected records come too fast: {error}"
            raise busy(problem, error.retry_after_ms / 1000, "rate_limited") from error
        except LettersFull as error:
            raise _no_room(error) from error
        try:
            yield
        finally:
            self._dead_letters.release(source.name, size)

    async def _prepared(self, dialect: Dialect, sent: Sent) -> Prepared:
        received_ms = self._clock.now_ms()
        if len(sent.body) <= LARGE_BODY_BYTES:
            try:
                return self._prepare(dialect, sent, received_ms, LARGE_BODY_BYTES)
            except Problem as problem:
                if problem.status != 413:
                    raise
        async with self._large:
            return await asyncio.to_thread(self._prepare, dialect, sent, received_ms, BODY_BYTES_MAX)

    def _prepare(self, dialect: Dialect, sent: Sent, received_ms: int, bytes_max: int) -> Prepared:
        plain = decompressed(sent.body, sent.headers.get("content-encoding", ""), bytes_max)
        if dialect.has_beacons:
            plain = unwrapped(plain, sent.query, bytes_max)
        decoded_bytes = check_values(plain) if bytes_max > LARGE_BODY_BYTES else 0
        if dialect is SEGMENT and sent.call_type == BATCH and (batch := usual_batch(plain)) is not None:
            shown = credentials(sent.headers, {}, batch.shown())
            if shown != NO_CREDENTIALS:
                found = self._prepare_usual(sent, received_ms, plain, batch, self._sources.source_of(*shown))
                return replace(found, decoded_bytes=decoded_bytes)
        body = read_json(plain)
        source = self._sources.source_of(*credentials(sent.headers, sent.query, body))
        unpacked = _unpacked(dialect, sent, body)
        if dialect.has_beacons and unpacked.sent_ms is None:
            unpacked = replace(unpacked, sent_ms=sent_in_query(sent.query))
        _check_count(len(unpacked.items))
        envelope = Envelope(source.name, received_ms, unpacked.sent_ms, unpacked.is_attempt)
        envelope = replace(envelope, anonymous_ids=source.anonymous_ids)
        if dialect.said is not None:
            envelope = _checked(envelope, (dialect.said(item, envelope) for item in unpacked.items))
        made = mapped(
            unpacked.items, lambda item: map_item(dialect, item, envelope), lambda item: dialect.wrap(item, envelope)
        )
        if dialect.doubt is not None:
            made = replace(made, doubted=_doubted(dialect.doubt, unpacked.items, envelope, made))
        items = unpacked.items
        return Prepared(source, envelope, len(items), lambda: items, made, decoded_bytes, unpacked.is_repeatable)

    def _prepare_usual(self, sent: Sent, received_ms: int, plain: bytes, batch: UsualBatch, source: Source) -> Prepared:
        _check_count(len(batch.batch))
        envelope = Envelope(source.name, received_ms, *segment_sent(batch.sent_at, sent.headers))
        if is_skewed(envelope.sent_ms, received_ms) or any(call.sent_at is not None for call in batch.batch):
            envelope = _checked(envelope, (said_by_call(call, envelope) for call in batch.batch))
        made = mapped(batch.batch, usual_rows(envelope), usual_wrap(envelope))
        # Each has an id of its own, so reading it again gives the same.
        return Prepared(
            source, envelope, len(batch.batch), lambda: _unpacked(SEGMENT, sent, read_json(plain)).items, made
        )

    def _tell_refused_links(self, prepared: Prepared) -> None:
        doubted = prepared.mapped.doubted
        if doubted:
            self._metrics.refused_links(len(doubted))
            if self._notices.is_due(prepared.source.name, prepared.envelope.received_ms):
                said = "%d links requested by source %s were refused, and kept as dead letters (%s)"
                _LOG.warning(said, len(doubted), prepared.source.name, doubted[0].code)

    def _tell_warnings(self, prepared: Prepared, warned: Sequence[Warned]) -> None:
        """Counts warnings of the cluster, and logs the first one of a source once a minute."""
        for code, count in Counter(each.code for each in warned).items():
            self._metrics.warned(code, count)
        source = prepared.source.name
        if warned and self._warnings.is_due(source, prepared.envelope.received_ms):
            first = warned[0]
            said = "%d records of source %s were accepted with warnings; the first is %s: %s"
            _LOG.warning(said, len({each.index for each in warned}), source, first.code, first.message)

    async def _keep(
        self,
        dialect: Dialect,
        prepared: Prepared,
        rejected: list[Rejected],
        refused: Sequence[Refused],
        letters: bytes,
    ) -> list[Rejected]:
        """Keeps rejected items; `letters` are those known before the delivery, for which there is room.

        If some cannot be kept, raises Problem 503 while the request may be sent again: nothing of it was accepted, or
        its ids identify accepted records. Otherwise they are lost, and the answer reports it for their records.
        """
        known = set(prepared.known)
        late, source = [each for each in rejected if each not in known], prepared.source.name
        whole = await asyncio.to_thread(_encoded, dialect, prepared, rejected) if late else letters
        refused_rows = sum(not each.is_warning for each in refused)
        may_repeat = prepared.is_repeatable or refused_rows == prepared.mapped.rows.count
        try:
            await asyncio.to_thread(self._dead_letters.append, source, whole, len(letters))
            return rejected
        except LettersFull as error:
            if may_repeat:
                raise _no_room(error) from error
            problem = error.problem
        except OSError as error:
            _LOG.error("could not write dead letters: %s", error)
            if may_repeat:
                raise busy("rejected records cannot be kept now; send the request again") from error
            problem, late = str(error), rejected
        if letters and len(late) < len(rejected):
            await self._keep(dialect, prepared, [each for each in rejected if each in known], refused, letters)
        self._metrics.lost_letters(len(late))
        _LOG.error("%d rejected records of source %s are not kept as dead letters: %s", len(late), source, problem)
        lost = {each.index for each in late}
        return [
            replace(each, message=f"{each.message}; it is not kept as a dead letter: {problem}")
            if each.index in lost
            else each
            for each in rejected
        ]


def _outcome(prepared: Prepared, refused: Sequence[Refused]) -> tuple[list[Rejected], list[Warned]]:
    """The items of a request that are not accepted as requested, and warnings about others."""
    owners = prepared.mapped.owners
    by_item = {each.index: each for each in prepared.mapped.rejected}
    warned = [Warned(owners[each.index], each.code, each.message) for each in refused if each.is_warning]
    for each in refused:
        if not each.is_warning:
            by_item.setdefault(owners[each.index], Rejected(owners[each.index], each.code, each.message))
    for doubted in prepared.mapped.doubted:
        by_item.setdefault(doubted.index, doubted)
    return [by_item[index] for index in sorted(by_item)], warned


def _encoded(dialect: Dialect, prepared: Prepared, rejected: Sequence[Rejected]) -> bytes:
    """The dead letters of rejected items."""
    envelope, items = prepared.envelope, prepared.items()
    sent_ms = None if envelope.is_contradicted else envelope.sent_ms
    said = (envelope.source, dialect.name, envelope.received_ms, sent_ms)
    return b"".join(encode_letter(DeadLetter(*said, each.code, each.message, items[each.index])) for each in rejected)


def _no_room(error: LettersFull) -> Problem:
    _LOG.warning("refused a request, because its rejected records cannot be kept: %s", error.problem)
    message = f"rejected records cannot be kept: {error.problem}; redrive or drop dead letters, and send it again"
    return busy(message, code="dead_letters_full")


def _unpacked(dialect: Dialect, sent: Sent, body: Any) -> Unpacked:
    try:
        return dialect.unpack(body, sent.headers, sent.call_type)
    except RecursionError as error:
        raise malformed("the body is nested too deeply") from error


def _doubted(doubt: DoubtOf, items: Sequence[Any], envelope: Envelope, made: Mapped) -> list[Rejected]:
    """The items with rows that do not get all that they request."""
    found = ((index, doubt(items[index], envelope)) for index in sorted(set(made.owners)))
    return [Rejected(index, error.code, error.message) for index, error in found if error is not None]


def _checked(envelope: Envelope, said: Iterable[Said | None]) -> Envelope:
    """The envelope, marked if one of the records is younger than the request's stated time of sending."""
    told = (each for each in said if each is not None)
    return replace(envelope, is_contradicted=True) if is_contradicted(told, envelope.received_ms) else envelope


def _check_count(count: int) -> None:
    if count > ITEMS_PER_REQUEST_MAX:
        raise too_large(f"{count} records in one request; at most {ITEMS_PER_REQUEST_MAX} are accepted")


def map_item(dialect: Dialect, item: Any, envelope: Envelope) -> list[WireRow]:
    """The rows of one item; RecordInvalid names its fault."""
    if not isinstance(item, dict):
        raise RecordInvalid.of(rules.ROW_OBJECT, type=type(item).__name__)
    try:
        return dialect.map(item, envelope)
    except RecursionError as error:
        raise RecordInvalid.of(rules.NESTING, name="record") from error
