"""Message ids of records without one: they identify a record of a file again, even if the file is renamed.

The id of a record is a hash of its content, and of the number of equal records before it in its file. So the file may
grow, be cut, reordered, renamed or copied: an accepted record keeps its id. Equal records of one file have different
ids; the first one in another file has the id of the first one here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from cdp_store.arrays import I64, U8, U64

ID_BYTES: Final = 22
_PREFIX: Final = b"f-"  # of a file
_HASH_BYTES: Final = 15  # 120 bits are 20 characters
_ALPHABET: Final = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
_ODD: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


def mixed(values: U64) -> U64:
    """Each number well mixed (the finaliser of splitmix64, Steele and others 2014)."""
    found = values ^ (values >> np.uint64(30))
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


def lanes_of(contents: list[bytes]) -> U64:
    """A 128-bit hash of each content: u64[n, 2]."""
    digests = b"".join(map(xxhash.xxh3_128_digest, contents))
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)


@dataclass(slots=True)
class _Run:
    """Hashes, ascending, and the number of times each occurred."""

    hashes: U64
    counts: I64


@dataclass(slots=True)
class Occurrences:
    """Number of equal records before each one of a file; 16 bytes for each different record."""

    _runs: list[_Run] = field(default_factory=list)

    def number(self, hashes: U64) -> I64:
        """The occurrence number of each of the next records: i64[n]."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))[: ordered.shape[0]])
        distinct, counts = ordered[starts], np.diff(np.append(starts, ordered.shape[0]))
        before = sum((_count(run, distinct) for run in self._runs), np.zeros(distinct.shape[0], np.int64))
        numbers: I64 = np.empty(hashes.shape[0], np.int64)
        numbers[order] = np.arange(hashes.shape[0]) - np.repeat(starts - before, counts)
        self._add(_Run(distinct, counts))
        return numbers

    def _add(self, run: _Run) -> None:
        self._runs.append(run)
        while len(self._runs) > 1 and self._runs[-2].hashes.shape[0] <= 2 * self._runs[-1].hashes.shape[0]:
            last = self._runs.pop()
            self._runs[-1] = _merged(self._runs[-1], last)


def _count(run: _Run, hashes: U64) -> I64:
    if not run.hashes.shape[0]:
        return np.zeros(hashes.shape[0], np.int64)
    at = np.minimum(np.searchsorted(run.hashes, hashes), run.hashes.shape[0] - 1)
    return np.where(run.hashes[at] == hashes, run.counts[at], 0)


def _merged(one: _Run, other: _Run) -> _Run:
    hashes = np.concatenate((one.hashes, other.hashes))
    order = np.argsort(hashes, kind="stable")
    ordered, counts = hashes[order], np.concatenate((one.counts, other.counts))[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))[: ordered.shape[0]])
    return _Run(ordered[starts], np.add.reduceat(counts, starts) if starts.shape[0] else counts)


class ContentIds:
    """Ids of the records of one file, in its order. Files with different labels have no ids in common."""

    def __init__(self, label: str = "") -> None:
        self._label = lanes_of([label.encode()])[0]
        self._occurrences = Occurrences()

    def ids_of(self, lanes: U64) -> U8:
        """The ids of the next records by the hashes of their contents: u8[n, ID_BYTES]."""
        own = mixed(lanes + self._label)
        numbers = self._occurrences.number(own[:, 0]).astype(np.uint64)
        hashes = np.stack([mixed(own[:, lane] + numbers * _ODD[lane]) for lane in (0, 1)], axis=1)
        raw = hashes.astype(">u8").view(np.uint8).reshape(-1, 16)[:, :_HASH_BYTES].reshape(-1, 5, 3).astype(np.uint32)
        joined = (raw[:, :, 0] << 16) | (raw[:, :, 1] << 8) | raw[:, :, 2]
        digits = np.stack([(joined >> shift) & 63 for shift in (18, 12, 6, 0)], axis=2).reshape(-1, 20)
        ids: U8 = np.empty((lanes.shape[0], ID_BYTES), np.uint8)
        ids[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, np.uint8)
        ids[:, len(_PREFIX) :] = _ALPHABET[digits]
        return ids


def id_column(ids: npt.NDArray[np.uint8]) -> pa.Array:
    """Ids as a column of texts."""
    offsets = np.arange(len(ids) + 1, dtype=np.int64) * ID_BYTES
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(ids))]
    return pa.Array.from_buffers(pa.large_string(), len(ids), buffers)
