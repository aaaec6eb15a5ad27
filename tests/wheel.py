"""Builds the wheel from the sdist, installs it in an empty environment, and takes the first steps of README.md there.

Nothing of the checkout is on the path of what is tried; its kernels and versions of dependencies are used again, so
that neither compiles nor resolves anew.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
# Folders of the checkout that a wheel holds, by their name in it.
_HELD: Final = {"cdp": "proto/cdp", **{name: name for name in ("cdp_router", "cdp_query", "cdp_store")}}
_READY: Final = re.compile(r"ready: router at (\S+)")
_WORD: Final = re.compile(r"[^\s,:]+")
_SECONDS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Step:
    """A command of README.md, and the answer that stands below it; empty where there is none."""

    words: tuple[str, ...]
    answer: str


def first_steps(readme: str) -> tuple[list[str], list[Step]]:
    """The records of the section `First steps`, and its commands but the one that starts the cluster."""
    section = readme.partition("## First steps\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    records, steps = [line for line in lines if line.startswith("{")], list[Step]()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        words = shlex.split(line, comments=True) if not line.startswith("{") else []
        if words and words != [".venv/bin/cdp", "up"]:
            steps.append(Step(tuple(words[1:]), following[1:].strip() if following.startswith("#") else ""))
    return records, steps


def missing_words(answer: str, printed: str) -> set[str]:
    """Words of an answer that were not printed; tables are printed with other blanks than README.md shows."""
    return set(_WORD.findall(answer)) - set(_WORD.findall(printed))


def wrong_names(names: Sequence[str], version: str) -> dict[str, list[str]]:
    """Files that a wheel of these names lacks, and those that do not belong in it."""
    info = f"cdp-{version}.dist-info/"
    held = {name for name in names if not name.startswith(info)}
    wanted = {
        f"{name}/{path.relative_to(_ROOT / folder).as_posix()}"
        for name, folder in _HELD.items()
        for path in (_ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    licensed = {f"{info}licenses/LICENSE"} - set(names)
    return {"missing": sorted(wanted - held | licensed), "not wanted": sorted(held - wanted)}


def _run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command printed; ends the trial with all of it where the command fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**_outside(), **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=_SECONDS_MAX,
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def _outside() -> dict[str, str]:
    """The environment without what leads into the checkout, or has every process compile the modules it imports."""
    dropped = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1"}


def _built(folder: Path) -> Path:
    """A wheel made from an sdist of the checkout, which therefore holds all that a wheel is made of."""
    requires = tomllib.loads((_ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    tools = folder / "tools"
    _run(sys.executable, "-m", "pip", "install", "-q", "--target", tools, *requires, cwd=folder)
    build = (sys.executable, "-m", "hatchling", "build", "-d", folder)
    _run(*build, "-t", "sdist", cwd=_ROOT, PYTHONPATH=str(tools))
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    _run(*build, "-t", "wheel", cwd=folder / sdist.name.removesuffix(".tar.gz"), PYTHONPATH=str(tools))
    [wheel] = folder.glob("*.whl")
    return wheel


def _installed(wheel: Path, folder: Path) -> Path:
    """Programs of a new environment that holds the wheel and its dependencies, in the versions of the checkout.

    Most modules of the dependencies are never imported here, so that compiling all of them would only take time.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    programs = folder / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install", "-q", "--no-compile")
    _run(*pip, "--constraint", _ROOT / "requirements-dev.txt", wheel, cwd=folder)
    program = f"import {', '.join(_HELD)}; print(*(each.__path__[0] for each in ({', '.join(_HELD)})), sep='\\n')"
    for place in _run(programs / "python", "-c", program, cwd=folder).splitlines():
        if not Path(place).is_relative_to(folder / "env"):
            raise SystemExit(f"{place} was imported, which is not of the wheel")
    return programs


@contextmanager
def _cluster(cdp: Path, folder: Path) -> Iterator[str]:
    """Address of a cluster of one shard with a gateway, which stops as by Ctrl-C."""
    command = [str(cdp), "up", "--port", "0", "--shards", "1"]
    with (folder / "up.txt").open("w+") as said:
        started = subprocess.Popen(
            command, cwd=folder, env=_outside(), stdout=subprocess.PIPE, stderr=said, text=True, bufsize=1
        )
        assert started.stdout is not None
        printed = list[str]()
        try:
            for line in started.stdout:
                printed.append(line)
                if found := _READY.search(line):
                    yield found.group(1)
                    break
        finally:
            if started.poll() is None:
                started.send_signal(signal.SIGINT)
            printed.append(started.communicate(timeout=_SECONDS_MAX)[0])
        if started.returncode or "stopped" not in printed[-1]:
            told = "".join(printed) + (folder / "up.txt").read_text()
            raise SystemExit(f"cdp up ended with {started.returncode}:\n{told}")


def _try_first_steps(cdp: Path, folder: Path) -> int:
    """Take the steps of README.md and compare their answers; how many there were."""
    records, steps = first_steps((_ROOT / "README.md").read_text())
    (folder / "events.ndjson").write_text("\n".join(records) + "\n")
    with _cluster(cdp, folder) as address:
        for step in steps:
            printed = _run(cdp, *step.words, cwd=folder, CDP_ADDRESS=address)
            if missing := missing_words(step.answer, printed):
                raise SystemExit(f"cdp {shlex.join(step.words)}: {sorted(missing)} is missing in\n{printed}")
    return len(steps)


def main() -> None:
    """Try the wheel; the first thing that is not as it should be ends the trial with a message."""
    version = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory(prefix="cdp-wheel-") as name:
        folder = Path(name).resolve()
        wheel = _built(folder)
        with zipfile.ZipFile(wheel) as packed:
            names = packed.namelist()
        if any((wrong := wrong_names(names, version)).values()):
            raise SystemExit(f"{wheel.name}: {wrong}")
        print(f"{wheel.name}: {len(names)} files", flush=True)
        cdp = _installed(wheel, folder) / "cdp"
        told = _run(cdp, "--version", cwd=folder).split()
        if told != ["cdp", version] or wheel.name.split("-")[1] != version:
            raise SystemExit(f"pyproject.toml has version {version}, the wheel is {wheel.name} and says {told}")
        if " up " not in _run(cdp, "--help", cwd=folder):
            raise SystemExit("cdp --help does not list `up`")
        count = _try_first_steps(cdp, folder)
        print(f"installed outside the checkout: cdp {version} took {count} first steps of README.md", flush=True)


if __name__ == "__main__":
    main()
