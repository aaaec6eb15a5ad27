"""Memory bandwidth of this machine: what no scan can exceed. Read (sum) and copy, with one and with two threads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numba import njit

ARRAY_BYTES: Final = 512 * 1024 * 1024
REPETITIONS: Final = 7

Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """GB/s (1e9 bytes) of several passes; a copy counts the bytes read and the bytes written."""

    best: float
    median: float


@njit(nogil=True, cache=True)
def sum_values(values: Array) -> int:
    """Sum of i64[n] with wrap-around; four running sums keep the adder from being the limit."""
    a = b = c = d = 0
    whole = len(values) - len(values) % 4
    for i in range(0, whole, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    for i in range(whole, len(values)):
        a += values[i]
    return a + b + c + d


@njit(nogil=True, cache=True)
def copy_values(source: Array, target: Array) -> int:
    """Copy i64[n] to i64[n]."""
    for i in range(len(source)):
        target[i] = source[i]
    return len(source)


def measure_roofline(array_bytes: int = ARRAY_BYTES, repetitions: int = REPETITIONS) -> dict[str, dict[str, float]]:
    """Bandwidth by kernel and thread count: read_1, read_2, copy_1, copy_2."""
    source = np.arange(array_bytes // 8, dtype=np.int64)
    target = np.zeros_like(source)
    results = {}
    for threads in (1, 2):
        parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
        read = _bandwidth(lambda part: sum_values(part[0]), parts, array_bytes, repetitions)
        copy = _bandwidth(lambda part: copy_values(*part), parts, 2 * array_bytes, repetitions)
        results[f"read_{threads}"], results[f"copy_{threads}"] = asdict(read), asdict(copy)
    return results


def _bandwidth(
    work: Callable[[tuple[Array, Array]], int], parts: list[tuple[Array, Array]], moved: int, repetitions: int
) -> Bandwidth:
    rates = []
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(work, parts))  # compiles, starts the threads and touches every page
        for _ in range(repetitions):
            began = time.perf_counter()
            list(pool.map(work, parts))
            rates.append(moved / (time.perf_counter() - began) / 1e9)
    return Bandwidth(round(max(rates), 3), round(statistics.median(rates), 3))


if __name__ == "__main__":
    for label, rate in measure_roofline().items():
        print(f"{label}: best {rate['best']:.1f} GB/s, median {rate['median']:.1f} GB/s")
