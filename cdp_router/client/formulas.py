"""Texts in CSV that a spreadsheet would run as formulas: written so that it does not, and restored when read.

A cell that begins with = + - @, a tab or a line end is a formula to a spreadsheet. An apostrophe before it makes it a
text, by the rules of spreadsheets. A text that already has apostrophes before such a character gets one more, so
removing one restores every text. Numbers stay as they are.
"""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_RISKY: Final = "=+\\-@\t\r\n＝＋－＠"
_FORMULA: Final = f"^'*[{_RISKY}]"
_NUMBER: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DEFUSED: Final = re.compile(f"^'+[{_RISKY}]")


def defused(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with an apostrophe before every text and column name that a spreadsheet would read as a formula."""
    columns = [_defused(column) if _is_text(column.type) else column for column in batch.columns]
    return pa.record_batch(columns, schema=defused_schema(batch.schema))


def defused_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of `defused` batches."""
    names = _defused(pa.array(schema.names, pa.string())).to_pylist()
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def restored(text: str) -> str:
    """A text as it was before `defused`."""
    return text[1:] if text.startswith("'") and _DEFUSED.match(text) else text


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _defused(texts: pa.Array) -> pa.Array:
    is_formula = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
    quoted = pc.binary_join_element_wise(pa.scalar("'", texts.type), texts, pa.scalar("", texts.type))
    return pc.if_else(is_formula, quoted, texts)
