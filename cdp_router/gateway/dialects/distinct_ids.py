"""Anonymous ids in PostHog's one space: by the library's statement, by their form, by a source's pattern.

The reading of an id must not change, or records under it before a link would be lost to the person: two user ids never
become one. So it depends on the id and the capture alone, never on earlier ones.
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
    """A regular expression in RE2 syntax, unchanged; RequestInvalid if it is none or too long."""
    if len(pattern.encode(errors="replace")) > PATTERN_BYTES_MAX:
        raise RequestInvalid("anonymous_ids", f"has more than {PATTERN_BYTES_MAX} bytes")
    try:
        _matches(pattern, "")
    except pa.ArrowInvalid as error:
        raise RequestInvalid("anonymous_ids", f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def pattern_of_environment() -> str:
    """The pattern for sources that have none of their own; empty if none is set."""
    return checked_pattern(os.environ.get(VARIABLE, ""))


def looks_made_up(distinct: str, pattern: str = "") -> bool:
    """True if an id has the form of ids generated for unknown people; `pattern` matches others."""
    if len(distinct) > IDENTIFIER_BYTES_MAX:
        return False  # it will be refused anyway
    return _MADE_UP.fullmatch(distinct) is not None or (bool(pattern) and _matches(pattern, distinct))


def is_anonymous(distinct: str, properties: Mapping[str, Any], pattern: str = "") -> bool:
    """True if the id of a capture belongs to an unknown person."""
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
