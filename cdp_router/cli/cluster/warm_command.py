"""`cdp warm`: compile the kernels now instead of at the first start."""

from __future__ import annotations

import subprocess
import sys
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cdp_router.cli.console import OUT
from cdp_store.kernels.kernel_cache import cache_directory


def warm() -> None:
    """Compile the kernels into the user's cache, so that the start of a cluster need not."""
    warm_with_progress()


def warm_with_progress() -> None:
    """Compile all kernels with a progress line, unless the cache has them."""
    # Imported here, like the warm-up: no command loads modules of the servers before it needs them.
    from cdp_router.process.kernel_list import warm_mark

    mark = warm_mark()
    if mark.exists():
        OUT.print(f"kernels ready (cache: {cache_directory()})", soft_wrap=True)
        return
    # It loads the compiler, which takes a second.
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
