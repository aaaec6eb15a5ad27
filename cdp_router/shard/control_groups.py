"""The memory that the control groups of this process allow: its own group and those above, of version 2 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_PROCESS: Final = Path("/proc/self")
_FILES: Final = {"cgroup2": "memory.max", "cgroup": "memory.limit_in_bytes"}


@dataclass(frozen=True, slots=True)
class _Mount:
    """A tree of control groups: its top group and its mount point."""

    kind: str
    top: PurePosixPath
    path: Path


def limit_files(process: Path = _PROCESS) -> list[Path]:
    """The files that may hold a limit for the process whose directory in /proc is given, of its own group first."""
    try:
        groups, mounts = (process / "cgroup").read_text(), list(_mounts((process / "mountinfo").read_text()))
    except OSError:
        return []  # another system, or one without control groups
    found = list[Path]()
    for line in groups.splitlines():
        number, controllers, group = line.split(":", 2)
        kind = "cgroup2" if number == "0" and not controllers else "cgroup"
        if kind == "cgroup2" or "memory" in controllers.split(","):
            for mount in mounts:
                if mount.kind == kind:
                    found += _up_from(mount, PurePosixPath(group))
    return found


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    """Mounts that may limit memory; a line is `36 35 98:0 <top> <path> <options> ... - <type> <source> <options>`."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and "memory" in kinds[2].split(",")):
            yield _Mount(kinds[0], PurePosixPath(fields[3]), Path(fields[4].replace("\\040", " ")))


def _up_from(mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """The limits from a group up to the top of its mount; only the top's if the group is not below it."""
    below = group.relative_to(mount.top) if group.is_relative_to(mount.top) else PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    for each in (below, *below.parents):
        yield mount.path / each / _FILES[mount.kind]
