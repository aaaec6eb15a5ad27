"""Answers as typed Python values, and their tables for Arrow, pandas and Polars, which are loaded only on use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdp.v1 import query_pb2

from cdp_router.contract.values import from_timestamp, from_value

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class _Tabular:
    """Result that converts to a table of Arrow, pandas or Polars."""

    def to_arrow(self) -> pa.Table:
        """The result as an Arrow table."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """The result as a pandas data frame."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """The result as a Polars data frame."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame


@dataclass(frozen=True, slots=True)
class Answer(_Tabular):
    """The answer to a question; `message` is the complete answer, with the tables of reports."""

    count: int
    population: int
    as_of: datetime
    exact: bool
    flags: tuple[str, ...]
    warnings: tuple[str, ...]
    breakdown: tuple[tuple[Any, int], ...]  # (value, members); None: the members without a value
    funnel: tuple[tuple[str, int], ...]  # (step, users who reached it)
    text: str  # the question as it was understood
    plan_hash: str
    milliseconds: float
    message: query_pb2.QueryResponse
    withheld_below: int  # with the flag WITHHELD: a 0 may hide a number below this; rows with one are missing

    @staticmethod
    def from_response(response: query_pb2.QueryResponse) -> Answer:
        """The answer in a message."""
        return Answer(
            response.count,
            response.population,
            from_timestamp(response.as_of),
            response.exact,
            tuple(response.flags),
            tuple(response.warnings),
            tuple((from_value(row.value), row.count) for row in response.breakdown),
            tuple((step.label, step.count) for step in response.funnel),
            response.text,
            response.plan_hash,
            response.milliseconds,
            response,
            response.withheld_below,
        )

    def to_arrow(self) -> pa.Table:
        """The rows of a report (for its columns see `report_frames`), the breakdown (value, count) or the funnel (step,
        count).

        Without any of these, one row with the count.
        """
        import pyarrow as pa

        from cdp_router.client.report_frames import report_frame, value_array

        report = report_frame(self.message)
        if report is not None:
            return report
        if self.funnel:
            steps, counts = zip(*self.funnel, strict=True)
            return pa.table({"step": pa.array(steps), "count": pa.array(counts, pa.uint64())})
        if self.breakdown:
            values, counts = zip(*self.breakdown, strict=True)
            return pa.table({"value": value_array(values), "count": pa.array(counts, pa.uint64())})
        return pa.table({"count": pa.array([self.count], pa.uint64())})


@dataclass(frozen=True, slots=True)
class Members(_Tabular):
    """The members of a segment: an Arrow stream of their kinds and ids, its coverage, and warnings like those of an
    answer.
    """

    stream: bytes
    coverage: query_pb2.Coverage
    warnings: tuple[str, ...] = ()

    @staticmethod
    def from_responses(responses: Iterable[query_pb2.MembersResponse]) -> Members:
        """The members in a stream of messages."""
        parts, last = list[bytes](), query_pb2.MembersResponse()
        for response in responses:
            if response.HasField("coverage"):
                last = response
            parts.append(response.arrow)
        return Members(b"".join(parts), last.coverage, tuple(last.warnings))

    def to_arrow(self) -> pa.Table:
        """The columns kind and id."""
        import pyarrow as pa

        with pa.ipc.open_stream(self.stream) as reader:
            return reader.read_all()

    def ids(self) -> list[str]:
        """The ids only."""
        found: list[str] = self.to_arrow().column("id").to_pylist()
        return found


class MembersIncomplete(Exception):
    """A list of members ended before its end."""

    def __init__(self) -> None:
        super().__init__("the list of members broke off and is incomplete; ask again")


class MemberBatches:
    """The members of a segment as Arrow batches with the columns of `schema`, read once.

    Raises MembersIncomplete where the stream broke off. `warnings` arrive at the end, like those of an answer.
    """

    def __init__(self, responses: Iterable[query_pb2.MembersResponse]) -> None:
        import pyarrow as pa

        self._responses = iter(responses)
        self._coverage: query_pb2.Coverage | None = None
        self.warnings: tuple[str, ...] = ()
        self._waiting = self._messages()
        first = next(self._waiting, None)
        if first is None:
            raise MembersIncomplete
        self.schema: pa.Schema = pa.ipc.read_schema(first)

    @property
    def coverage(self) -> query_pb2.Coverage:
        """Partitions that the list covers. Raises MembersIncomplete until the list has been read to its end."""
        if self._coverage is None:
            raise MembersIncomplete
        return self._coverage

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for message in self._waiting:
            yield pa.ipc.read_record_batch(message, self.schema)
        if self._coverage is None:
            raise MembersIncomplete

    def _messages(self) -> Iterator[pa.ipc.Message]:
        import pyarrow as pa

        for response in self._responses:
            if response.HasField("coverage"):
                self._coverage, self.warnings = response.coverage, tuple(response.warnings)
            if response.arrow:
                yield from pa.ipc.MessageReader.open_stream(pa.BufferReader(response.arrow))


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a profile."""

    name: str
    time: datetime
    properties: Mapping[str, Any]

    @staticmethod
    def from_message(message: query_pb2.ProfileEvent) -> Event:
        """The event in a message."""
        values = {key: from_value(value) for key, value in message.properties.items()}
        return Event(message.name, from_timestamp(message.time), values)


@dataclass(frozen=True, slots=True)
class Profile:
    """One person: the identifier that names the profile as (kind, value), attributes, and the latest of `event_count`
    events.

    `Client.explain_identity` returns the other identifiers.
    """

    identifiers: tuple[tuple[str, str], ...]
    created: datetime
    attributes: Mapping[str, Any]
    events: tuple[Event, ...]
    event_count: int

    @staticmethod
    def from_message(message: query_pb2.GetProfileResponse) -> Profile:
        """The profile in a message."""
        return Profile(
            tuple((each.kind, each.value) for each in message.identifiers),
            from_timestamp(message.created),
            {key: from_value(value) for key, value in message.attributes.items()},
            tuple(map(Event.from_message, message.events)),
            message.event_count,
        )
