"""Processes of their own: one engine's memory, threads and settings must not reach another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import psutil

Answer = TypeVar("Answer")


def run_isolated(
    function: Callable[..., Answer], *arguments: Any, environment: Mapping[str, str] | None = None
) -> Answer:
    """Call a module-level function in a fresh process and give back what it returned."""
    with environment_set(environment or {}), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def environment_set(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables in force while a child process is started."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def resident_bytes() -> int:
    """Memory held by this process and all of its children."""
    process = psutil.Process()
    return sum(int(each.memory_info().rss) for each in (process, *process.children(recursive=True)))
