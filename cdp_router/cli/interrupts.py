"""Interrupts by Ctrl-C while the modules of a command load."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

INTERRUPTED: Final = 130  # exit code of a command that was interrupted: 128 and the number of SIGINT


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Makes an interrupt in the block end the process with INTERRUPTED and without a traceback.

    Leaves other handlers than Python's own alone.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))  # modules that load may turn exceptions into others
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
