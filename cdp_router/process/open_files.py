"""Limit of the connections that a process may hold."""

from __future__ import annotations

import resource


def allow_many_open_files() -> None:
    """Raises the soft limit of open files to the hard one: a connection is a file, and 1,024 are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
