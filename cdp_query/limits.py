"""Bounds of a question, with their reasons."""

from __future__ import annotations

from typing import Final

SEQUENCE_STEPS_MAX: Final = 32  # the steps an event matches are bits of a u32
QUERY_TEXT_CHARACTERS_MAX: Final = 64 * 1024  # a person's question is short; a generated one may be long
QUERY_NESTING_MAX: Final = 64  # deeper trees would exhaust the stack of recursive walks
