"""Texts in any case: full Unicode case folding, as str.casefold does it, over whole arrays of strings.

Two texts are the same in any case when their foldings are equal: "ΟΔΟΣ" and "οδος", "STRASSE" and "straße". Folding
changes the case alone: a letter with its accent as one character or as two stays the same.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from itertools import accumulate, chain
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import AnyArray

_STRINGS_AT_ONCE: Final = 1 << 12  # some dozen bytes for each of their characters while they are folded
_SURROGATES: Final = range(0xD800, 0xE000)
# Parts of a pattern that are no literal characters: escapes, quoted parts, classes, and groups' own signs.
_PATTERN_PARTS: Final = re.compile(
    r"(?P<quoted>\\Q.*?(?:\\E|$))|(?P<kept>\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:[^]]*:\]|[^]\\])*\]"
    r"|\(\?P?<[^>]*>)|(?P<literal>.)",
    re.DOTALL,
)


def folded(strings: pa.Array) -> pa.Array:
    """The strings (string or large_string, without nulls) in folded form, as large_string."""
    wide = strings.cast(pa.large_string())
    beyond = pc.invert(pc.string_is_ascii(wide))
    lowered = pc.ascii_lower(wide)
    if not pc.any(beyond).as_py():
        return lowered
    others = wide.filter(beyond)
    parts = [_folded(others.slice(at, _STRINGS_AT_ONCE)) for at in range(0, len(others), _STRINGS_AT_ONCE)]
    return pc.replace_with_mask(lowered, beyond, pa.concat_arrays(parts))


def folded_pattern(pattern: str) -> str:
    """A regular expression for folded texts: letters that fold to several become those, "ß" becomes "(?:ss)".

    Classes and characters after a backslash are kept unchanged; the case of single letters is for the matcher.
    """
    return _PATTERN_PARTS.sub(_expanded, pattern)


def _expanded(part: re.Match[str]) -> str:
    if part["quoted"] is not None:
        literals = part["quoted"].removeprefix("\\Q").removesuffix("\\E")
        return "".join(_several(letter) or re.escape(letter) for letter in literals)
    return part[0] if part["kept"] is not None else _several(part[0]) or part[0]


def _several(letter: str) -> str | None:
    own = letter.casefold()
    return f"(?:{own})" if len(own) > 1 else None


def _folded(strings: pa.Array) -> pa.Array:
    """Folds all strings at once, character by character."""
    counts = pc.utf8_length(strings).to_numpy()
    text = "".join(strings.to_pylist())
    letters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    starts, several = _foldings()
    lengths = np.diff(starts)[letters]
    ends = np.cumsum(lengths)
    # The place of every letter of the result among all foldings: where its own letter's folding begins, and on.
    within = np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
    letters_out = several[np.repeat(starts[letters], lengths) + within]
    bytes_out = 1 + (letters_out >= 0x80).astype(np.int64) + (letters_out >= 0x800) + (letters_out >= 0x10000)
    per_letter = np.append(0, np.cumsum(bytes_out))
    last_letters = np.append(0, ends)[np.append(0, np.cumsum(counts))]
    data = letters_out.astype("<u4").tobytes().decode("utf-32-le").encode()
    offsets = per_letter[last_letters].astype(np.int64)
    return pa.Array.from_buffers(pa.large_string(), len(strings), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


@lru_cache(maxsize=1)
def _foldings() -> tuple[AnyArray, AnyArray]:
    """(start of the folding of each character, i64[n + 1]; the characters of all foldings back to back, u32)."""
    texts = ["?" if code in _SURROGATES else chr(code).casefold() for code in range(sys.maxunicode + 1)]
    starts = np.fromiter(chain([0], accumulate(map(len, texts))), np.int64, len(texts) + 1)
    return starts, np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
