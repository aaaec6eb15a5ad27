"""Requests to be checked and not stored: CleverTap's `dryRun`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.delivery import Refused
from cdp_router.gateway.rows import Rows
from cdp_router.records.validation import Row, check_row

_NAME: Final = re.compile(r"dry[-_ ]?run", re.IGNORECASE)
_NOT: Final = frozenset({"0", "false", "no", "off", "n", "f"})


def is_dry_run(query: Mapping[str, str]) -> bool:
    """True if a request asks for a dry run, in any spelling; storing nothing is the safe reading of others."""
    return any(_NAME.fullmatch(name) and value.strip().lower() not in _NOT for name, value in query.items())


def refused_rows(rows: Rows, now_ms: int) -> list[Refused]:
    """The rows that would be refused. Checks that only routers can make, such as rules of the schema, are left out."""
    refused = list[Refused]()
    for index, packed in enumerate(rows.each()):
        try:
            check_row(Row(*msgspec.msgpack.decode(packed)), now_ms)
        except RecordInvalid as error:
            refused.append(Refused(index, error.code, error.message))
    return refused
