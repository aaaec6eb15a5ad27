"""The choice between syncing before an ack and on a timer."""

from __future__ import annotations

import enum


class SyncMode(enum.Enum):
    """Moment when appended entries become durable: before `append` returns, or when `sync` is called."""

    ALWAYS = "always"
    INTERVAL = "interval"
