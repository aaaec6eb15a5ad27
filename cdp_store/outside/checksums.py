"""CRC32C of bytes of any size."""

from __future__ import annotations

import mmap
from typing import Final

import google_crc32c
import numpy as np
import pyarrow as pa

from cdp_store.arrays import U8

_PIECE_BYTES: Final = 1 << 20  # the library blocks all other threads while it works: a tenth of a millisecond for this


def crc32c_of(data: bytes | memoryview | mmap.mmap | pa.Buffer, start: int = 0, stop: int | None = None) -> int:
    """CRC32C of data[start:stop]; other threads can run in between."""
    end = (data.size if isinstance(data, pa.Buffer) else len(data)) if stop is None else stop
    whole: U8 = np.frombuffer(data, np.uint8, end - start, start)
    found = 0
    for at in range(0, whole.shape[0], _PIECE_BYTES):
        found = google_crc32c.extend(found, whole[at : at + _PIECE_BYTES])
    return int(found)
