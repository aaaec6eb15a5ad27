"""Limits of the number of identifiers of a kind that may belong to one identifier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cdp.v1 import ingest_pb2

from cdp_router.errors import RequestInvalid
from cdp_router.identity.batch_links import records_saying
from cdp_router.limits import ERRORS_TOLD_MAX
from cdp_store.identity.identity_changes import Links
from cdp_store.identity.seats import OTHERS
from cdp_store.ids import ANONYMOUS_ID, decode_identifier, is_identifier_kind
from cdp_store.records.records import RecordBatch

IDENTIFIERS_MAX: Final = "CDP_IDENTIFIERS_MAX"
LINK_REFUSED: Final = "IDENTIFIER_LIMIT"  # code of a record with a link beyond a limit
_REST: Final = "others"  # in settings: all kinds without a limit of their own
_LIMIT_MAX: Final = (1 << 32) - 1  # the largest number of the contract
# Browsers forget their anonymous id in a week or two: a person has had hundreds of them after some years. Of other
# kinds no person has a hundred: a profile with more is a machine, a shared account or a mistake.
_USUAL: Final[Mapping[str, int]] = MappingProxyType({ANONYMOUS_ID: 1000, OTHERS: 100})


@dataclass(frozen=True, slots=True)
class IdentifierLimits:
    """By kind, the number of identifiers that may belong to one of a higher kind; OTHERS: kinds that are not named."""

    by_kind: Mapping[str, int] = field(default_factory=lambda: _USUAL)

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> IdentifierLimits:
        """The usual limits, overridden by those of the environment: `email=5,anonymous_id=200,others=20`.

        RequestInvalid names the part that cannot be read.
        """
        said = dict[str, int]()
        for part in filter(None, map(str.strip, environment.get(IDENTIFIERS_MAX, "").split(","))):
            kind, _, number = map(str.strip, part.partition("="))
            if not (kind == _REST or is_identifier_kind(kind)) or not number.isascii() or not number.isdigit():
                raise RequestInvalid(IDENTIFIERS_MAX, f"{part!r} must be written kind=number, or {_REST}=number")
            if not 1 <= int(number) <= _LIMIT_MAX:
                raise RequestInvalid(IDENTIFIERS_MAX, f"{part!r}: numbers go from 1 to {_LIMIT_MAX}")
            said[OTHERS if kind == _REST else kind] = int(number)
        return IdentifierLimits(MappingProxyType({**_USUAL, **said}))

    def of_kind(self, kind: str) -> int:
        """Limit of one kind."""
        return self.by_kind.get(kind, self.by_kind[OTHERS])


def tell_refused(
    refused: Links, said: Links, batch: RecordBatch, limits: IdentifierLimits
) -> tuple[list[tuple[int, ingest_pb2.RecordError]], int]:
    """Errors for the records of a batch that state a refused link, by record; and the number of those left out.

    `said` are all links of the batch.
    """
    told = list[tuple[int, ingest_pb2.RecordError]]()
    records, places = records_saying(refused, said, batch)
    for record, at in zip(records[:ERRORS_TOLD_MAX].tolist(), places[:ERRORS_TOLD_MAX].tolist(), strict=True):
        (lower, value), (upper, owner) = decode_identifier(said.lower[at]), decode_identifier(said.upper[at])
        problem = (
            f"{lower} {value!r} was not linked to {upper} {owner!r}, which has {limits.of_kind(lower)} of this kind "
            f"already; the record is accepted all the same. Unlink some, or raise {IDENTIFIERS_MAX}"
        )
        told.append((record, ingest_pb2.RecordError(code=LINK_REFUSED, message=problem)))
    return told, records.shape[0] - len(told)
