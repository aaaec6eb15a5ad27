"""The Containerfile agrees with what it packs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from cdp_router.limits import DEFAULT_PORT, GATEWAY_PORT
from tests.container import instructions

_ROOT = Path(__file__).parents[1]
_STEPS = list(instructions((_ROOT / "Containerfile").read_text()))
_FINAL = dict(_STEPS)  # of an instruction that stands twice, the last stage's


def test_a_continued_line_is_one_instruction() -> None:
    assert list(instructions("# why\n\nFROM x\nRUN a && \\\n  b\n")) == [("FROM", "x"), ("RUN", "a &&   b")]


def test_it_copies_what_a_wheel_is_made_of() -> None:
    copied = {word for name, rest in _STEPS if name == "COPY" for word in rest.split()[:-1]}
    packed = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {folder.partition("/")[0] for folder in packed["packages"]} <= copied
    assert [name for name in copied if not name.startswith(("--from", "/")) and not (_ROOT / name).exists()] == []


def test_it_shows_the_ports_of_a_cluster_and_asks_one_of_them_for_its_health() -> None:
    assert _FINAL["EXPOSE"].split() == [str(DEFAULT_PORT), str(GATEWAY_PORT)]
    assert f":{GATEWAY_PORT}/health" in json.loads(_FINAL["HEALTHCHECK"].partition("CMD ")[2])[-1]


def test_it_runs_as_a_user_whose_home_is_the_volume() -> None:
    assert _FINAL["USER"] == "cdp"
    assert _FINAL["VOLUME"] == _FINAL["WORKDIR"] == "/var/lib/cdp"
    assert f"HOME={_FINAL['VOLUME']}" in _FINAL["ENV"].split()
