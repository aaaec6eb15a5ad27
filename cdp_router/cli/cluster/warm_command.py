"""`cdp warm`: compile the kernels now instead of at the first start."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import cdp_router
from cdp_router.cli.console import OUT
from cdp_store.kernels.kernel_cache import cache_directory, content_stamp


def warm() -> None:
    """Compile the kernels into the user's cache, so that the start of a cluster need not."""
    warm_with_progress()


def warm_with_progress() -> None:
    """Compile all kernels with a progress line, unless the cache has them."""
    mark = _mark()
    if mark.exists():
        OUT.print(f"kernels ready (cache: {cache_directory()})", soft_wrap=True)
        return
    # Imported here: every other command would pay a second for loading the compiler.
    from cdp_router.process.warm_up import warm_kernels

    started = time.monotonic()
    columns = (TextColumn("compiling kernels"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=OUT, transient=True) as progress:
        task = progress.add_task("", total=None)
        # Two processes: each compiles on a core of its own, and finds the other's kernels in the cache.
        # Ctrl-C reaches both: only this one reports it. What the other fails to compile, this one compiles.
        other = subprocess.Popen([sys.executable, "-c", _EVALUATOR], stderr=subprocess.DEVNULL)
        try:
            warm_kernels(lambda done, total: progress.update(task, completed=done, total=total), other.wait)
        finally:
            other.kill()
            other.wait()
    OUT.print(f"kernels ready in {time.monotonic() - started:.1f} s (cache: {cache_directory()})", soft_wrap=True)
    mark.touch()


_EVALUATOR = "from cdp_router.process.warm_up import warm_evaluator; warm_evaluator()"
_ROOMS = ("kernels", "compiled/kernels", "reports")


def _mark() -> Path:
    """A file that exists once these kernels have been compiled for all signatures of the warm-up."""
    asked = hashlib.sha256((Path(cdp_router.__file__).parent / "process" / "warm_up.py").read_bytes()).hexdigest()[:12]
    # By path: the client loads no engine. Reports say themselves what warms their kernels.
    stamps = (content_stamp(Path(cdp_router.__file__).parents[1] / "cdp_query" / room) for room in _ROOMS)
    return cache_directory() / f"warm-{'-'.join(stamps)}-{asked}"
