"""`cdp warm`: compile the kernels now instead of at the first start."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cdp_router.cli.console import OUT


def warm() -> None:
    """Compile the kernels into the user's cache, so that starting a cluster does not have to."""
    warm_with_progress()


def warm_with_progress() -> None:
    """Compile or load all kernels under a visible progress line."""
    # Imported here: every other command would pay a second for loading the compiler.
    from cdp_router.warming import warm_kernels
    from cdp_store.jit import cache_directory

    started = time.monotonic()
    columns = (TextColumn("compiling kernels"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=OUT, transient=True) as progress:
        task = progress.add_task("", total=None)
        warm_kernels(lambda done, total: progress.update(task, completed=done, total=total))
    OUT.print(f"kernels ready in {time.monotonic() - started:.1f} s (cache: {cache_directory()})", soft_wrap=True)
