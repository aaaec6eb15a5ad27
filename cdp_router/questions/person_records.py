"""Everything that is kept of one person, wherever its parts are, in order of time and with how it came in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from cdp.v1 import profile_pb2, query_pb2, shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_RECEIPTS, READ_RECORDS
from cdp_router.contract.arrow_streams import from_stream, to_stream
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline
from cdp_router.errors import PersonChanged, ProfileNotFound
from cdp_router.identity.identities import Identities, Named
from cdp_router.records.record_tables import with_receipts
from cdp_store.ids import decode_identifier
from cdp_store.snapshot.cold.cold_tables import SCHEMA, encoded_text
from cdp_store.values import to_ms


@dataclass(frozen=True, slots=True)
class Part:
    """A page of the records that stand under one identifier; `profile` with the first one."""

    profile: profile_pb2.ExportedProfile | None
    records: pa.Table


class People:
    """Reads persons whole."""

    def __init__(self, routing: Routing, identities: Identities) -> None:
        self._routing, self._identities = routing, identities

    async def export(self, asked: Named, deadline: Deadline) -> AsyncGenerator[profile_pb2.ExportProfileResponse, None]:
        """The person whom an identifier belongs to; ProfileNotFound, or PersonChanged when that changes meanwhile."""
        person = await self._person(asked, deadline)
        own = [(each.kind, each.value) for each in person.identifiers]
        end, is_found = profile_pb2.ExportEnd(), False
        async for part in self._parts(own, deadline):
            if not is_found:
                yield profile_pb2.ExportProfileResponse(person=person)
            is_found = True
            if part.profile is not None:
                yield profile_pb2.ExportProfileResponse(profile=part.profile)
            changes = part.records.column("event").null_count
            end.changes += changes
            end.events += part.records.num_rows - changes
            if part.records.num_rows:
                yield profile_pb2.ExportProfileResponse(records=to_stream(_told(part.records)))
        if not is_found:
            raise ProfileNotFound(*asked)
        profile = person.profile.kind, person.profile.value
        if await self._identities.identifiers_of(profile, deadline) != set(own):
            raise PersonChanged
        yield profile_pb2.ExportProfileResponse(end=end)

    async def add_origins(self, profile: query_pb2.GetProfileResponse, deadline: Deadline) -> None:
        """Say of events, given latest first and without a gap, how each came in."""
        if not profile.events:
            return
        [named] = profile.identifiers
        own = await self._identities.identifiers_of((named.kind, named.value), deadline)
        first, last = profile.events[-1].time.ToMilliseconds(), profile.events[0].time.ToMilliseconds()
        waiting = defaultdict[tuple[str, int], list[query_pb2.EventOrigin | None]](list)
        async for part in self._pages((named.kind, named.value), own, shard_pb2.PageEnd(time_ms=first), deadline):
            for row in _told(part.records).drop_columns(["values"]).to_pylist():
                waiting[row["event"], to_ms(row["time"])].append(_origin(row))
            if part.records.num_rows and _last_ms(part.records) > last:
                break
        for event in profile.events:
            same = waiting.get((event.name, event.time.ToMilliseconds()))
            origin = same.pop() if same else None
            if origin is not None:
                event.origin.CopyFrom(origin)

    async def identifiers_of(self, profile: query_pb2.Identifier, deadline: Deadline) -> list[query_pb2.Identifier]:
        """All identifiers of a profile, its own first."""
        named = profile.kind, profile.value
        others = sorted(await self._identities.identifiers_of(named, deadline) - {named})
        return [profile, *(query_pb2.Identifier(kind=kind, value=value) for kind, value in others)]

    async def _person(self, asked: Named, deadline: Deadline) -> profile_pb2.ExportedPerson:
        explained = await self._identities.explain(asked, deadline)
        identifiers = await self.identifiers_of(explained.profile, deadline)
        if len(identifiers) > 1:
            await self._identities.settle(deadline)
        return profile_pb2.ExportedPerson(
            profile=explained.profile, identifiers=identifiers, bindings=explained.bindings
        )

    async def _parts(self, own: Sequence[Named], deadline: Deadline) -> AsyncIterator[Part]:
        """Pages of all there is, that of the profile first: what moves to it meanwhile came in since it began."""
        for identifier in own:
            async for part in self._pages(identifier, own, None, deadline):
                yield part

    async def _pages(
        self, identifier: Named, own: Iterable[Named], after: shard_pb2.PageEnd | None, deadline: Deadline
    ) -> AsyncIterator[Part]:
        receipts = _Receipts(self._routing, self._identities, own)
        request = shard_pb2.ReadRecordsRequest(
            identifier=query_pb2.Identifier(kind=identifier[0], value=identifier[1]),
            after=after,
        )
        home, is_first = self._identities.home(identifier), True
        while True:
            page = await self._routing.one(READ_RECORDS, request, deadline, home)
            if not page.found and not is_first:
                raise PersonChanged
            if not page.found:
                return
            records = from_stream(page.arrow)
            came = await receipts.covering(records, deadline)
            page.profile.identifier.CopyFrom(request.identifier)
            yield Part(page.profile if is_first else None, with_receipts(records, came))
            if not page.HasField("next"):
                return
            is_first = False
            request.after.CopyFrom(page.next)


class _Receipts:
    """Receipts of a person's records for later and later times; only those of some time are held at once."""

    def __init__(self, routing: Routing, identities: Identities, own: Iterable[Named]) -> None:
        self._routing = routing
        self._homes = defaultdict[int, list[Named]](list)
        for identifier in own:
            self._homes[identities.home(identifier)].append(identifier)
        self._held = {home: SCHEMA.empty_table() for home in self._homes}
        self._until: dict[int, int | None] = {}

    async def covering(self, records: pa.Table, deadline: Deadline) -> pa.Table:
        """All receipts that records in order of time can have, those of each identifier in order of arrival."""
        if not records.num_rows:
            return SCHEMA.empty_table()
        first, last = _first_ms(records), _last_ms(records)
        for home in self._homes:
            self._held[home] = _between(self._held[home], first, None)
            while self._is_short(home, last):
                await self._read(home, max(first, self._until.get(home) or first), deadline)
        return pa.concat_tables(_between(held, first, last) for held in self._held.values())

    def _is_short(self, home: int, last: int) -> bool:
        until = self._until.get(home)
        return home not in self._until or (until is not None and until <= last)

    async def _read(self, home: int, from_ms: int, deadline: Deadline) -> None:
        request = shard_pb2.ReadReceiptsRequest(
            identifiers=[query_pb2.Identifier(kind=kind, value=value) for kind, value in self._homes[home]],
            from_ms=from_ms,
        )
        found = await self._routing.one(READ_RECEIPTS, request, deadline, home)
        self._held[home] = pa.concat_tables([self._held[home], from_stream(found.arrow)])
        self._until[home] = found.until_ms if found.HasField("until_ms") else None


def _told(records: pa.Table) -> pa.Table:
    """The records with kind and value of their sources instead of the encoded forms."""
    texts, codes = encoded_text(records, "source")
    named = [decode_identifier(text.encode()) for text in texts.to_pylist()]  # a handful, however many records
    at, place = pa.array(codes), records.schema.get_field_index("source")
    told = records.remove_column(place)
    for offset, name in enumerate(("source_kind", "source_id")):
        column = pa.array([each[offset] for each in named], pa.string()).take(at)
        told = told.add_column(place + offset, name, column)
    return told


def _origin(row: dict[str, Any]) -> query_pb2.EventOrigin | None:
    if row["sequence"] is None:
        return None
    return query_pb2.EventOrigin(
        message_id=row["message_id"] or "",
        source=query_pb2.Identifier(kind=row["source_kind"], value=row["source_id"]),
        received=to_timestamp(to_ms(row["received"])),
        partition=row["partition"],
        sequence=row["sequence"],
        envelope=row["envelope"] or "",
    )


def _between(table: pa.Table, first: int, last: int | None) -> pa.Table:
    times = table.column("time").cast(pa.int64()).to_numpy()
    inside = times >= first if last is None else (times >= first) & (times <= last)
    return table if inside.all() else table.filter(pa.array(inside))


def _first_ms(records: pa.Table) -> int:
    return int(records.column("time").cast(pa.int64())[0].as_py())


def _last_ms(records: pa.Table) -> int:
    return int(records.column("time").cast(pa.int64())[-1].as_py())
