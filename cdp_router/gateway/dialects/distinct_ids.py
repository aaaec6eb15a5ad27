"""Anonymous ids in PostHog's one space: by what the library says of one, by its form, by a source's pattern.

The reading of an id must not change, or what came under it before a link would be left behind: two user ids never
become one. So it depends on the id and the capture alone, never on what came before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.errors import RequestInvalid
from cdp_store.limits import IDENTIFIER_BYTES_MAX

VARIABLE: Final = "CDP_ANONYMOUS_IDS"
PATTERN_BYTES_MAX: Final = 500
_MADE_UP: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|anon.*"
    r"|(guest|visitor|cart|basket|checkout|sess|session|device|temp|tmp|unknown|cookie|browser|install)[-_:.|/~#].+",
    re.IGNORECASE | re.DOTALL,
)
_REMEMBERED: Final = 4096
_COOKIELESS: Final = "$posthog_cookieless"


def checked_pattern(pattern: str) -> str:
    """A regular expression in RE2 syntax, as it is; RequestInvalid where it is none or too long."""
    if len(pattern.encode(errors="replace")) > PATTERN_BYTES_MAX:
        raise RequestInvalid("anonymous_ids", f"has more than {PATTERN_BYTES_MAX} bytes")
    try:
        _matches(pattern, "")
    except pa.ArrowInvalid as error:
        raise RequestInvalid("anonymous_ids", f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def pattern_of_environment() -> str:
    """The pattern for sources that have none of their own; empty where none is set."""
    return checked_pattern(os.environ.get(VARIABLE, ""))


def looks_made_up(distinct: str, pattern: str = "") -> bool:
    """True if an id has the form of those that are made up for unknown people; `pattern` names others."""
    if len(distinct) > IDENTIFIER_BYTES_MAX:
        return False  # it will be refused, whatever it is
    return _MADE_UP.fullmatch(distinct) is not None or (bool(pattern) and _matches(pattern, distinct))


def is_anonymous(distinct: str, properties: Mapping[str, Any], pattern: str = "") -> bool:
    """True if the id of a capture stands for an unknown person."""
    is_said = properties.get("$is_identified") is False or properties.get("$device_id") == distinct
    return is_said or looks_made_up(distinct, pattern)


def is_of_nobody(distinct: str, properties: Mapping[str, Any]) -> bool:
    """True if a capture has no id: without cookies, the library sends one constant for all visitors."""
    return distinct == _COOKIELESS or properties.get("$cookieless_mode") is True


@lru_cache(_REMEMBERED)
def _matches(pattern: str, text: str) -> bool:
    # RE2 takes time in proportion to the text, whatever the pattern; clients choose the text.
    found: bool = pc.match_substring_regex(pa.scalar(text.encode(errors="replace").decode()), pattern).as_py()
    return found
