"""Check of records against the cluster's rules, a document that all routers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from cdp.v1 import ingest_pb2, schema_pb2
from google.protobuf.message import DecodeError

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shared_document import SharedDocument
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError, SchemaChanged
from cdp_router.identity.batch_links import without_records
from cdp_router.ingest.schema_checking import Violations, check
from cdp_router.ingest.schema_rules import Rules
from cdp_router.ingest.violation_counts import Counts, Mode
from cdp_router.limits import ERRORS_TOLD_MAX, SCHEMA_LOOK_SECONDS
from cdp_router.records.columnarised import Columnarised
from cdp_store.arrays import I64
from cdp_store.errors import DirectoryDamaged, StoreError
from cdp_store.identity.identity_changes import Links
from cdp_store.records.records import RecordBatch

_LOG = logging.getLogger(__name__)
DOCUMENT: Final = "schema"
VIOLATION: Final = "SCHEMA_VIOLATION"


@dataclass(frozen=True, slots=True)
class Apart:
    """Records for the quarantine, with reasons, their positions in the request, and the links they state."""

    batch: RecordBatch
    reasons: list[str]
    positions: I64
    links: Links


@dataclass(frozen=True, slots=True)
class Passed:
    """Records of a batch that may be accepted, and the violations reported to its sender."""

    columnarised: Columnarised
    warnings: list[ingest_pb2.RecordError] = field(default_factory=list)
    apart: Apart | None = None
    warnings_omitted: int = 0


class SchemaGate:
    """Checks batches by the newest rules this router knows of."""

    def __init__(self, routing: Routing, count: Callable[[Counts], None] = lambda _: None) -> None:
        self._count, self._is_known = count, False
        self._document = SharedDocument(
            routing, DOCUMENT, Rules(), _read, lambda rules: rules.message.SerializeToString(), SchemaChanged
        )

    async def rules(self, deadline: Deadline) -> Rules:
        """The last known rules; the first call reads them from the cluster."""
        return self._document.known if self._is_known else await self.newest(deadline)

    async def newest(self, deadline: Deadline) -> Rules:
        """The cluster's current rules."""
        rules = await self._document.newest(deadline)
        self._is_known = True
        return rules

    async def set(self, message: schema_pb2.SchemaRules, deadline: Deadline) -> Rules:
        """Replaces all rules; RequestInvalid for rules without a meaning."""
        rules = Rules.from_message(message)
        await self._document.change(lambda known: (None, known if known.message == message else rules), deadline)
        return await self.newest(deadline)

    async def keep_known(self) -> None:
        """Reads newer rules at regular times; runs until cancelled."""
        was_read = True
        while True:
            try:
                await self.newest(Deadline.after(None, SCHEMA_LOOK_SECONDS))
                was_read = True
            except (RouterError, StoreError, grpc.aio.AioRpcError) as error:
                if was_read:  # otherwise it was logged already
                    _LOG.warning("the rules of the schema cannot be read; the last known ones stay in force: %s", error)
                was_read = False
            await asyncio.sleep(SCHEMA_LOOK_SECONDS)

    def check(self, columnarised: Columnarised, rules: Rules) -> Passed:
        """Removes records that rules refuse, with their links; counts all violations."""
        found = check(columnarised.batch, rules)
        if not found.counts:
            return Passed(columnarised)
        self._count(found.counts)

        def told(records: I64) -> list[ingest_pb2.RecordError]:
            some = records[:ERRORS_TOLD_MAX]
            said = zip(columnarised.positions[some].tolist(), found.told(some), strict=True)
            return [ingest_pb2.RecordError(index=index, code=VIOLATION, message=message) for index, message in said]

        refused, apart = found.of_mode(Mode.REJECT), found.of_mode(Mode.QUARANTINE)
        gone = np.zeros(len(columnarised.batch), np.bool_)
        gone[refused] = gone[apart] = True
        kept = np.flatnonzero(~gone)
        passed = replace(
            columnarised,
            batch=columnarised.batch.take(kept) if gone.any() else columnarised.batch,
            positions=columnarised.positions[kept],
            errors=[*columnarised.errors, *told(refused)],
            links=without_records(columnarised.links, columnarised.batch, gone),
            errors_omitted=columnarised.errors_omitted + max(0, len(refused) - ERRORS_TOLD_MAX),
        )
        warned = found.of_mode(Mode.WARN)
        omitted = max(0, len(warned) - ERRORS_TOLD_MAX)
        return Passed(passed, told(warned), _apart(columnarised, apart, found) if apart.size else None, omitted)


def _apart(columnarised: Columnarised, records: I64, found: Violations) -> Apart:
    batch, others = columnarised.batch, np.ones(len(columnarised.batch), np.bool_)
    others[records] = False
    return Apart(
        batch.take(records),
        found.told(records),
        columnarised.positions[records],
        without_records(columnarised.links, batch, others),
    )


def _read(content: bytes) -> Rules:
    try:
        return Rules.from_message(schema_pb2.SchemaRules.FromString(content))
    except (DecodeError, RouterError) as error:
        raise DirectoryDamaged(Path(DOCUMENT), str(error)) from error
