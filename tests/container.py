"""Takes the steps of the Containerfile in a plain chroot and starts what it starts, where mounts can be made.

The file system is this machine's /usr, /etc and Python, so that the base image itself is not tried. The rest is empty.
Nothing reaches the directories of this machine: they are mounted for reading, in a namespace that ends with the trial.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cdp_query
import cdp_store
from cdp_store.kernels.kernel_cache import cache_directory, content_stamp

_ROOT: Final = Path(__file__).parents[1]
_INSIDE: Final = "--inside"
_NEW_NETWORK: Final = 0x4000_0000  # CLONE_NEWNET of clone(2)
_SET_FLAGS: Final = 0x8914  # SIOCSIFFLAGS of netdevice(7)
_UP: Final = 0x1
_START_SECONDS_MAX: Final = 120
_FAMILIES: Final = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Names and arguments of the instructions of a Containerfile."""
    for line in text.replace("\\\n", "").splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


@dataclass(slots=True)
class Stage:
    """What the instructions since one FROM have made."""

    root: Path
    environment: dict[str, str]
    folder: str = "/"
    user: str = "root"
    told: dict[str, str] = field(default_factory=dict)

    def do(self, name: str, rest: str, stages: Mapping[str, Stage]) -> None:
        """Take one step; refuses those it does not know."""
        if name == "RUN":
            self.run("/bin/sh", "-ec", rest)
        elif name == "COPY":
            self._copy(rest.split(), stages)
        elif name == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                self.environment[key] = value.replace("$PATH", self.environment["PATH"])
        elif name == "USER":
            self.user = rest
        elif name == "WORKDIR":
            self.folder = rest
            self.at(rest).mkdir(parents=True, exist_ok=True)
        elif name in ("VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            self.told[name] = rest
        else:
            raise SystemExit(f"Containerfile: {name} is not known to this trial")

    def _copy(self, words: list[str], stages: Mapping[str, Stage]) -> None:
        origin = _ROOT
        if words[0].startswith("--from="):
            origin = stages[words.pop(0).removeprefix("--from=")].root
        *sources, target = words
        for source in sources:
            found, to = origin / source.lstrip("/"), self.at(target)
            if found.is_dir():
                shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(found, to)

    def run(self, *words: str) -> str:
        """What a command in the stage printed; ends the trial with all of it where the command fails."""
        done = subprocess.run(
            self.command(*words), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise SystemExit(f"{shlex.join(words)} failed:\n{done.stdout}")
        return done.stdout

    def at(self, path: str) -> Path:
        """A path of the stage as it is seen from outside."""
        return self.root / path.lstrip("/")

    def command(self, *words: str) -> list[str]:
        """Words that run a command in the stage: as its user, in its folder, with its environment alone."""
        pairs = [f"{key}={value}" for key, value in self.environment.items()]
        entered = ["chroot", f"--userspec={self.user}", str(self.root), "/usr/bin/env", "-i", *pairs]
        return [*entered, "/bin/sh", "-c", f'cd {self.folder} && exec "$@"', "sh", *words]


def _made(root: Path) -> Stage:
    """A stage on this machine's programs: /usr and Python for reading, a copy of /etc, the cache of pip."""
    for name in ("usr", "proc", "dev", "tmp", "opt/base/bin", "var/lib", "root"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copytree("/etc", root / "etc", symlinks=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    python = Path(sys.base_prefix)
    for shown in (Path("/usr"), python, Path("/dev")):
        _bind(shown, root, reading=shown != Path("/dev"))
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    (root / "opt/base/bin/python").symlink_to(Path(sys.executable).resolve())
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(_FAMILIES)}
    cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], check=True, capture_output=True, text=True)
    _bind(Path(cache.stdout.strip()), root, reading=False)
    environment = {**kept, "PATH": "/opt/base/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    return Stage(root, {**environment, "PIP_CACHE_DIR": cache.stdout.strip()})


def _bind(path: Path, root: Path, *, reading: bool) -> None:
    target = root / path.relative_to("/")
    path.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--rbind", path, target], check=True)
    if reading:
        subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)


def _share_kernels(stage: Stage) -> None:
    """Give the user of the stage the kernels that are compiled here, so that the trial need not compile."""
    rooms = (Path(cdp_store.__path__[0]), Path(cdp_query.__path__[0]), Path(cdp_query.__path__[0]) / "compiled")
    stamps = [content_stamp(room / "kernels") for room in rooms]
    home = stage.at(stage.environment["HOME"])
    for found in cache_directory().iterdir():
        if any(stamp in found.name for stamp in stamps) and found.is_dir():
            shutil.copytree(found, home / ".cache/cdp/kernels" / found.name)
    for path in (home, *home.rglob("*")):
        shutil.chown(path, home.stat().st_uid, home.stat().st_gid)


def _leave_the_network() -> None:
    """Move into a network of its own, where no port is taken and nobody listens in."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def _try(stage: Stage) -> None:
    """Start the last stage as a container does: refused without keys, healthy with one, stopped by SIGTERM."""
    entry, usual = (json.loads(stage.told[name]) for name in ("ENTRYPOINT", "CMD"))
    health = json.loads(stage.told["HEALTHCHECK"].partition("CMD ")[2])
    refused = subprocess.run(stage.command(*entry, *usual), check=False, capture_output=True, text=True)
    if refused.returncode == 0 or "keys create" not in refused.stderr:
        raise SystemExit(f"a container without keys was not refused: {refused}")
    stage.run(*entry, "init", "--shards", "1")
    printed = stage.run(*entry, "keys", "create", "boss", "--role", "admin")
    stage.environment["CDP_API_KEY"] = next(word for word in printed.split() if word.startswith("cdp_"))
    with subprocess.Popen(stage.command(*entry, *usual)) as started:
        give_up_at = time.monotonic() + _START_SECONDS_MAX
        while subprocess.run(stage.command(*health), check=False, stderr=subprocess.DEVNULL).returncode:
            if started.poll() is not None or time.monotonic() > give_up_at:
                raise SystemExit("the container did not become healthy")
            time.sleep(0.5)
        stage.run(*entry, "status")
        started.send_signal(signal.SIGTERM)
        if code := started.wait(_START_SECONDS_MAX):
            raise SystemExit(f"the container ended with {code}")


def _inside(folder: Path) -> None:
    """Take all steps; runs in namespaces of its own."""
    stages, stage = dict[str, Stage](), None
    for name, rest in instructions((_ROOT / "Containerfile").read_text()):
        if name == "FROM":
            stage = _made(folder / str(len(stages)))
            stages[rest.partition(" AS ")[2]] = stage
        elif stage is not None:
            stage.do(name, rest, stages)
    assert stage is not None
    _share_kernels(stage)
    _leave_the_network()
    _try(stage)


def main() -> None:
    """Try the Containerfile, or say in one line why that cannot be done here."""
    if _INSIDE in sys.argv:
        _inside(Path(sys.argv[-1]))
        return
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    if missing := [name for name in ("unshare", "chroot", "useradd") if shutil.which(name) is None]:
        print(f"container: skipped, there is no {missing[0]}")
        return
    if os.getuid() or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        print("container: skipped, the mounts and namespaces of a chroot cannot be made here")
        return
    alone.remove("--net")  # the steps need it: only what runs at last gets a network of its own
    with tempfile.TemporaryDirectory(prefix="cdp-container-") as folder:
        # Removed only when its mounts are gone: they end with the namespace, which no other process sees into.
        Path(folder).chmod(0o755)
        inside = [*alone, sys.executable, "-m", "tests.container", _INSIDE, folder]
        if code := subprocess.run(inside, cwd=_ROOT, check=False).returncode:
            raise SystemExit(code)
    print("container: the steps of the Containerfile were taken in a chroot, and what it starts became healthy")


if __name__ == "__main__":
    main()
